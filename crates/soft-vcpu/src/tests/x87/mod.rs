// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! x87 against the processor that the test runs on.

mod native;
mod operands;
mod reference;
mod state;

use native::{Instruction, Side};
use operands::Random;

use crate::x87::{status, F80, X87};

/// Cases of an instruction in a test run.
const CASES: u64 = 3_000;

fn cases() -> u64 {
    std::env::var("X87_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(CASES)
}

/// A random start: registers, some of them empty, control word, memory.
fn start(random: &mut Random) -> Side {
    let mut side = Side::new();
    let control = random.next() as u16 & 0xf00 | 0x40;
    let masks = match random.below(3) {
        0 => random.next() as u16 & 0x3f,
        _ => 0x3f,
    };
    let top = random.below(8) as u16;
    // Flags that are set already must not be unmasked: #MF would come first.
    let flags = random.next() as u16 & masks & random.next() as u16 | random.next() as u16 & 0x40;
    let codes = random.next() as u16 & 0x4700;
    let used = match random.below(8) {
        0 => random.next() as u8,
        1 => 0xff,
        _ => 0x7f_u8.rotate_left(u32::from(top)),
    };
    side.x87 = X87 {
        regs: std::array::from_fn(|_| random.f80()),
        control: control | masks,
        status: flags | codes | top << 11,
        used,
        fip: random.next(),
        fdp: random.next(),
        fop: random.next() as u16 & 0x7ff,
        ..X87::default()
    };
    for half in side.memory.chunks_mut(16) {
        half.copy_from_slice(&random.memory());
    }
    side.rax = random.next();
    side.flags = random.next() & crate::flags::bit::STATUS | 2;
    side
}

/// Takes away what an instruction may leave differently: pointers, which have tests of their own.
fn comparable(mut side: Side) -> Side {
    (side.x87.fip, side.x87.fdp, side.x87.fop, side.x87.fcs, side.x87.fds) = (0, 0, 0, 0, 0);
    side
}

/// What a person wants to know of a failed case.
fn difference(start: &Side, real: &Side, soft: &Side) -> String {
    let st = |side: &Side, i: u8| {
        let value = side.x87.raw_st(i);
        let empty = if side.x87.st(i).is_none() { "(empty)" } else { "" };
        format!("{:04x}_{:016x}{empty}", value.sign_exponent, value.mantissa)
    };
    let words = |side: &Side| {
        let X87 { control, status, used, .. } = side.x87;
        format!("control {control:04x} status {status:04x} used {used:02x}")
    };
    let registers = |side: &Side| (0..3).map(|i| st(side, i)).collect::<Vec<_>>().join(" ");
    let one = |side: &Side| {
        let Side { rax, flags, memory, .. } = side;
        let (words, registers, memory) = (words(side), registers(side), &memory[..32]);
        format!("{words} {registers} rax {rax:x} flags {flags:x} memory {memory:x?}")
    };
    format!("\n start {}\n real  {}\n soft  {}", one(start), one(real), one(soft))
}

fn compare(name: &'static str, bytes: &[u8], mask: impl Fn(&Side, &mut Side)) {
    compare_by(name, bytes, |start, real, soft| {
        mask(start, real);
        mask(start, soft);
    });
}

/// `forgive` takes away the differences that may be.
fn compare_by(name: &'static str, bytes: &[u8], forgive: impl Fn(&Side, &mut Side, &mut Side)) {
    let mut instruction = Instruction::new(name, bytes);
    let mut random = Random(bytes.iter().fold(1, |sum, byte| sum * 251 + u64::from(*byte)));
    let mut wrong = 0;
    for case in 0..cases() {
        let start = start(&mut random);
        let mut soft = comparable(instruction.softly(&start));
        let mut real = start.clone();
        // A task switch in between can lose FIP, FDP and FOP (AMD's FXSAVE and XSAVE without ES):
        // once more then.
        for _ in 0..4 {
            real = comparable(instruction.natively(&start));
            forgive(&start, &mut real, &mut soft);
            if real == soft {
                break;
            }
        }
        if real != soft {
            wrong += 1;
            if wrong <= 4 {
                println!("{name}, case {case}:{}", difference(&start, &real, &soft));
            }
        }
    }
    assert_eq!(wrong, 0, "{name}");
}

/// The manual sets C1 to 0; AMD's processors leave it alone.
fn without_c1(_: &Side, side: &mut Side) {
    side.x87.status &= !status::C1;
}

macro_rules! instructions {
    ($mask:expr; $($name:ident: $($byte:literal)+;)+) => {$(
        #[test]
        fn $name() {
            compare(stringify!($name), &[$($byte),+], $mask);
        }
    )+};
}

instructions! {
    without_c1;
    fucomi_st1: 0xdb 0xe9;
    fcomi_st1: 0xdb 0xf1;
    fucomip_st1: 0xdf 0xe9;
    fcomip_st1: 0xdf 0xf1;
}

instructions! {
    |_, _| {};
    fprem: 0xd9 0xf8;
    fprem1: 0xd9 0xf5;
    fscale: 0xd9 0xfd;
    fxtract: 0xd9 0xf4;
    fnstenv_m28: 0xd9 0x32;
    fnstenv_m14: 0x66 0xd9 0x32;
    fnsave_m108: 0xdd 0x32;
    fnsave_m94: 0x66 0xdd 0x32;
    fldenv_m28: 0xd9 0x22;
    fldenv_m14: 0x66 0xd9 0x22;
    frstor_m108: 0xdd 0x22;
    frstor_m94: 0x66 0xdd 0x22;
    fadd_m32: 0xd8 0x02;
    fmul_m32: 0xd8 0x0a;
    fcom_m32: 0xd8 0x12;
    fcomp_m32: 0xd8 0x1a;
    fsub_m32: 0xd8 0x22;
    fsubr_m32: 0xd8 0x2a;
    fdiv_m32: 0xd8 0x32;
    fdivr_m32: 0xd8 0x3a;
    fadd_st0_st1: 0xd8 0xc1;
    fmul_st0_st1: 0xd8 0xc9;
    fcom_st1: 0xd8 0xd1;
    fcomp_st1: 0xd8 0xd9;
    fsub_st0_st2: 0xd8 0xe2;
    fsubr_st0_st2: 0xd8 0xea;
    fdiv_st0_st1: 0xd8 0xf1;
    fdivr_st0_st1: 0xd8 0xf9;
    fld_m32: 0xd9 0x02;
    fst_m32: 0xd9 0x12;
    fstp_m32: 0xd9 0x1a;
    fldcw: 0xd9 0x2a;
    fnstcw: 0xd9 0x3a;
    fld_st1: 0xd9 0xc1;
    fld_st7: 0xd9 0xc7;
    fxch_st1: 0xd9 0xc9;
    fxch_st7: 0xd9 0xcf;
    fnop: 0xd9 0xd0;
    fstpnce_st1: 0xd9 0xd9;
    fchs: 0xd9 0xe0;
    fabs: 0xd9 0xe1;
    ftst: 0xd9 0xe4;
    fxam: 0xd9 0xe5;
    fld1: 0xd9 0xe8;
    fldl2t: 0xd9 0xe9;
    fldl2e: 0xd9 0xea;
    fldpi: 0xd9 0xeb;
    fldlg2: 0xd9 0xec;
    fldln2: 0xd9 0xed;
    fldz: 0xd9 0xee;
    fdecstp: 0xd9 0xf6;
    fincstp: 0xd9 0xf7;
    fsqrt: 0xd9 0xfa;
    frndint: 0xd9 0xfc;
    fiadd_m32: 0xda 0x02;
    fimul_m32: 0xda 0x0a;
    ficom_m32: 0xda 0x12;
    ficomp_m32: 0xda 0x1a;
    fisub_m32: 0xda 0x22;
    fisubr_m32: 0xda 0x2a;
    fidiv_m32: 0xda 0x32;
    fidivr_m32: 0xda 0x3a;
    fcmovb_st1: 0xda 0xc1;
    fcmove_st1: 0xda 0xc9;
    fcmovbe_st1: 0xda 0xd1;
    fcmovu_st1: 0xda 0xd9;
    fucompp: 0xda 0xe9;
    fild_m32: 0xdb 0x02;
    fisttp_m32: 0xdb 0x0a;
    fist_m32: 0xdb 0x12;
    fistp_m32: 0xdb 0x1a;
    fld_m80: 0xdb 0x2a;
    fstp_m80: 0xdb 0x3a;
    fcmovnb_st1: 0xdb 0xc1;
    fcmovne_st7: 0xdb 0xcf;
    fcmovnbe_st1: 0xdb 0xd1;
    fcmovnu_st1: 0xdb 0xd9;
    fneni: 0xdb 0xe0;
    fndisi: 0xdb 0xe1;
    fnclex: 0xdb 0xe2;
    fninit: 0xdb 0xe3;
    fnsetpm: 0xdb 0xe4;
    fadd_m64: 0xdc 0x02;
    fmul_m64: 0xdc 0x0a;
    fcom_m64: 0xdc 0x12;
    fcomp_m64: 0xdc 0x1a;
    fsub_m64: 0xdc 0x22;
    fsubr_m64: 0xdc 0x2a;
    fdiv_m64: 0xdc 0x32;
    fdivr_m64: 0xdc 0x3a;
    fadd_st1_st0: 0xdc 0xc1;
    fmul_st1_st0: 0xdc 0xc9;
    fsubr_st1_st0: 0xdc 0xe1;
    fsub_st1_st0: 0xdc 0xe9;
    fdivr_st1_st0: 0xdc 0xf1;
    fdiv_st1_st0: 0xdc 0xf9;
    fld_m64: 0xdd 0x02;
    fisttp_m64: 0xdd 0x0a;
    fst_m64: 0xdd 0x12;
    fstp_m64: 0xdd 0x1a;
    fnstsw_m16: 0xdd 0x3a;
    ffree_st1: 0xdd 0xc1;
    fst_st1: 0xdd 0xd1;
    fst_st7: 0xdd 0xd7;
    fstp_st1: 0xdd 0xd9;
    fucom_st1: 0xdd 0xe1;
    fucomp_st1: 0xdd 0xe9;
    fiadd_m16: 0xde 0x02;
    fimul_m16: 0xde 0x0a;
    ficom_m16: 0xde 0x12;
    ficomp_m16: 0xde 0x1a;
    fisub_m16: 0xde 0x22;
    fisubr_m16: 0xde 0x2a;
    fidiv_m16: 0xde 0x32;
    fidivr_m16: 0xde 0x3a;
    faddp_st1: 0xde 0xc1;
    fmulp_st1: 0xde 0xc9;
    fcompp: 0xde 0xd9;
    fsubrp_st1: 0xde 0xe1;
    fsubp_st1: 0xde 0xe9;
    fdivrp_st1: 0xde 0xf1;
    fdivp_st1: 0xde 0xf9;
    fild_m16: 0xdf 0x02;
    fisttp_m16: 0xdf 0x0a;
    fist_m16: 0xdf 0x12;
    fistp_m16: 0xdf 0x1a;
    fbld: 0xdf 0x22;
    fild_m64: 0xdf 0x2a;
    fbstp: 0xdf 0x32;
    fistp_m64: 0xdf 0x3a;
    ffreep_st1: 0xdf 0xc1;
    fnstsw_ax: 0xdf 0xe0;
    wait: 0x9b;
}

/// The distance of two numbers of one sign in units of the last place.
fn distance(a: F80, b: F80) -> u128 {
    let place = |value: F80| {
        u128::from(value.sign_exponent & 0x7fff) << 63 | u128::from(value.mantissa << 1 >> 1)
    };
    match a.negative() == b.negative() {
        true => place(a).abs_diff(place(b)),
        false => u128::MAX,
    }
}

/// Results that are rounded once from many more digits, where processors err a little: a unit of
/// the last place in ST(0) and ST(1), and then whether and how it was rounded.
fn nearly(_: &Side, real: &mut Side, soft: &mut Side) {
    let near = |i| distance(real.x87.raw_st(i), soft.x87.raw_st(i)) <= 1;
    if real.x87.top() != soft.x87.top() || !near(0) || !near(1) {
        return;
    }
    if soft.x87.raw_st(0).sign_exponent & 0x7fff != 0x7fff {
        soft.x87.status &= !status::C1;
        real.x87.status &= !status::C1;
    }
    soft.x87.regs = real.x87.regs;
}

macro_rules! transcendental {
    ($($name:ident: $($byte:literal)+;)+) => {$(
        #[test]
        fn $name() {
            compare_by(stringify!($name), &[$($byte),+], nearly);
        }
    )+};
}

transcendental! {
    f2xm1: 0xd9 0xf0;
    fyl2x: 0xd9 0xf1;
    fptan: 0xd9 0xf2;
    fpatan: 0xd9 0xf3;
    fyl2xp1: 0xd9 0xf9;
    fsincos: 0xd9 0xfb;
    fsin: 0xd9 0xfe;
    fcos: 0xd9 0xff;
}
