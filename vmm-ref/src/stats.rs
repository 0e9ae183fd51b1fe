// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Where interrupts went: counters, and the tables that `--stats` prints at exit.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use irq_routing::Delivery;

use crate::trace::Summary;

/// What became of one line's requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineStats {
    /// Rising edges and repeated assertions.
    pub raised: u64,
    /// Requests that a controller took.
    pub delivered: u64,
    /// Requests that merged with a pending one.
    pub coalesced: u64,
    /// Requests that nobody took: masked, or not routed.
    pub ignored: u64,
    /// EOIs that reached the line's sources.
    pub eoi: u64,
}

impl LineStats {
    /// Counts one assertion.
    pub fn raise(&mut self, delivery: Delivery) {
        self.raised += 1;
        match delivery {
            Delivery::Delivered(_) => self.delivered += 1,
            Delivery::Coalesced => self.coalesced += 1,
            Delivery::Ignored => self.ignored += 1,
        }
    }
}

/// What one vCPU's thread counts.
#[derive(Clone, Debug)]
pub struct VcpuStats {
    /// Interrupts that the guest took, by vector.
    pub injected: Box<[u64; 256]>,
    /// EOIs, by the vector that they ended.
    pub eoi: Box<[u64; 256]>,
    /// Acknowledge cycles that found the request gone.
    pub spurious: u64,
    /// NMIs handed to the guest.
    pub nmi: u64,
    /// Interrupt windows asked for.
    pub windows: u64,
    /// Exits from the guest.
    pub exits: u64,
    /// HLT exits.
    pub halts: u64,
    /// Instructions of the guest, if the backend counts them.
    pub instructions: Option<u64>,
}

impl Default for VcpuStats {
    fn default() -> Self {
        VcpuStats {
            injected: Box::new([0; 256]),
            eoi: Box::new([0; 256]),
            spurious: 0,
            nmi: 0,
            windows: 0,
            exits: 0,
            halts: 0,
            instructions: None,
        }
    }
}

/// What others count about a vCPU.
#[derive(Debug, Default)]
pub struct SenderStats {
    kicks: AtomicU64,
    wakes: AtomicU64,
}

impl SenderStats {
    /// A signal was sent.
    pub fn kick(&self) {
        self.kicks.fetch_add(1, Ordering::Relaxed);
    }

    /// A sleeping thread was woken.
    pub fn wake(&self) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
    }
}

/// Everything, when the machine has stopped.
#[derive(Debug, Default)]
pub struct Report {
    /// Indexed by GSI.
    pub lines: Vec<LineStats>,
    /// Indexed by vCPU.
    pub vcpus: Vec<VcpuReport>,
    /// Where time is virtual: how late it was at the end, in ns, and the interrupts until then.
    pub virtual_time: Option<(u64, Summary)>,
}

/// One vCPU's part of the report.
#[derive(Debug, Default)]
pub struct VcpuReport {
    /// Counted by its own thread.
    pub own: VcpuStats,
    /// Signals sent to it.
    pub kicks: u64,
    /// Times that it was woken.
    pub wakes: u64,
}

impl VcpuReport {
    /// Joins both sides' counters.
    pub fn new(own: VcpuStats, senders: &SenderStats) -> Self {
        VcpuReport {
            own,
            kicks: senders.kicks.load(Ordering::Relaxed),
            wakes: senders.wakes.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_lines(f)?;
        self.write_vectors(f)?;
        self.write_vcpus(f)?;
        if let Some((ns, Summary { count, hash })) = self.virtual_time {
            let (seconds, ns) = (ns / 1_000_000_000, ns % 1_000_000_000);
            writeln!(
                f,
                "\nvirtual time {seconds}.{ns:09} s, {count} injected, trace {hash:#018x}"
            )?;
        }
        Ok(())
    }
}

impl Report {
    fn write_lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<8}{:>12}{:>12}{:>12}{:>12}{:>12}",
            "line", "raised", "delivered", "coalesced", "ignored", "EOI"
        )?;
        for (gsi, line) in self.lines.iter().enumerate().filter(|(_, line)| line.raised != 0) {
            writeln!(
                f,
                "GSI {gsi:<4}{:>12}{:>12}{:>12}{:>12}{:>12}",
                line.raised, line.delivered, line.coalesced, line.ignored, line.eoi
            )?;
        }
        Ok(())
    }

    fn write_vectors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{:<8}{:>12}{:>12}", "vector", "injected", "EOI")?;
        for cpu in 0..self.vcpus.len() {
            write!(f, "{:>12}", format!("vCPU {cpu}"))?;
        }
        writeln!(f)?;
        for vector in 0..256 {
            let per_cpu = self.vcpus.iter().map(|vcpu| vcpu.own.injected[vector]);
            let injected: u64 = per_cpu.clone().sum();
            let eoi: u64 = self.vcpus.iter().map(|vcpu| vcpu.own.eoi[vector]).sum();
            if injected == 0 && eoi == 0 {
                continue;
            }
            write!(f, "{:<8}{injected:>12}{eoi:>12}", format!("{vector:#04x}"))?;
            for count in per_cpu {
                write!(f, "{count:>12}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn write_vcpus(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<8}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}",
            "vCPU", "exits", "halts", "windows", "kicks", "wakes", "NMI", "spurious"
        )?;
        for (index, vcpu) in self.vcpus.iter().enumerate() {
            let own = &vcpu.own;
            writeln!(
                f,
                "{index:<8}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}",
                own.exits, own.halts, own.windows, vcpu.kicks, vcpu.wakes, own.nmi, own.spurious
            )?;
        }
        let counted: Vec<_> = self.vcpus.iter().filter_map(|vcpu| vcpu.own.instructions).collect();
        if !counted.is_empty() {
            writeln!(f, "\ninstructions: {}", counted.iter().sum::<u64>())?;
        }
        Ok(())
    }
}
