// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The time-stamp counter.

/// Where the TSC comes from. The argument is the number of instructions that the vCPU has
/// completed; a virtual clock is made of it, a real one ignores it.
pub type TscSource = Box<dyn Fn(u64) -> u64 + Send>;

/// The guest's TSC: a source and an offset.
pub(crate) struct Tsc {
    pub source: TscSource,
    /// Added to what the source says.
    pub offset: u64,
    /// IA32_TSC_ADJUST, which writes to IA32_TSC change too.
    pub adjust: u64,
}

impl Tsc {
    /// The counter now.
    pub fn read(&self, executed: u64) -> u64 {
        (self.source)(executed).wrapping_add(self.offset)
    }

    /// WRMSR to IA32_TSC (SDM vol. 3, "IA32_TSC_ADJUST Register").
    pub fn write(&mut self, executed: u64, value: u64) {
        let change = value.wrapping_sub(self.read(executed));
        self.offset = self.offset.wrapping_add(change);
        self.adjust = self.adjust.wrapping_add(change);
    }

    /// WRMSR to IA32_TSC_ADJUST.
    pub fn write_adjust(&mut self, value: u64) {
        self.offset = self.offset.wrapping_add(value.wrapping_sub(self.adjust));
        self.adjust = value;
    }
}
