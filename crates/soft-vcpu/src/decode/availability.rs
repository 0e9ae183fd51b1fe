// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! x87, MMX and SSE instructions that CR0 and CR4 refuse (SDM vol. 3, "Control Registers", CR0.TS,
//! CR0.EM, CR4.OSFXSR; table "Action Taken By x87 FPU Instructions for Different Combinations of
//! EM, MP, and TS").

use iced_x86::{CpuidFeature, Instruction, Mnemonic, OpKind};
use vcpu_events::Exception;

use crate::cpu::Cpu;
use crate::mode::Mode;
use crate::op::{Handler, Op, Step};

enum Unit {
    None,
    X87,
    Wait,
    Mmx,
    Sse,
    /// FXSAVE and FXRSTOR.
    FxState,
}

/// What raises the exception, if the instruction must not be executed in this mode.
pub(super) fn refusal(instruction: &Instruction, mode: Mode) -> Option<Handler> {
    match unit(instruction) {
        Unit::None => None,
        Unit::X87 if mode.em() || mode.ts() => Some(not_available),
        Unit::Wait if mode.mp() && mode.ts() => Some(not_available),
        Unit::FxState if mode.em() || mode.ts() => Some(not_available),
        Unit::Mmx if mode.em() => Some(undefined),
        Unit::Sse if mode.em() || !mode.osfxsr() => Some(undefined),
        Unit::Mmx | Unit::Sse if mode.ts() => Some(not_available),
        _ => None,
    }
}

fn unit(instruction: &Instruction) -> Unit {
    match instruction.mnemonic() {
        Mnemonic::Wait => return Unit::Wait,
        Mnemonic::Fxsave | Mnemonic::Fxsave64 | Mnemonic::Fxrstor | Mnemonic::Fxrstor64 => {
            return Unit::FxState
        }
        Mnemonic::Ldmxcsr | Mnemonic::Stmxcsr => return Unit::Sse,
        // From memory these name no XMM register.
        Mnemonic::Cvtps2pi
        | Mnemonic::Cvttps2pi
        | Mnemonic::Cvtpd2pi
        | Mnemonic::Cvttpd2pi
        | Mnemonic::Cvtss2si
        | Mnemonic::Cvttss2si
        | Mnemonic::Cvtsd2si
        | Mnemonic::Cvttsd2si => return Unit::Sse,
        Mnemonic::Emms => return Unit::Mmx,
        _ => {}
    }
    let registers = || {
        (0..instruction.op_count())
            .filter(|n| instruction.op_kind(*n) == OpKind::Register)
            .map(|n| instruction.op_register(n))
    };
    if registers().any(|register| register.is_xmm()) {
        return Unit::Sse;
    }
    if registers().any(|register| register.is_mm()) {
        return Unit::Mmx;
    }
    let is_x87 = |feature: &CpuidFeature| {
        matches!(feature, CpuidFeature::FPU | CpuidFeature::FPU287 | CpuidFeature::FPU387)
    };
    match instruction.cpuid_features().iter().any(is_x87) {
        true => Unit::X87,
        false => Unit::None,
    }
}

fn not_available(cpu: &mut Cpu, _: &Op) -> Step {
    Err(cpu.raise(Exception::nm()))
}

fn undefined(cpu: &mut Cpu, _: &Op) -> Step {
    Err(cpu.ud())
}
