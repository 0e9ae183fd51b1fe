// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What firmware would have left in the CMOS RAM.

use super::spec;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const BASE_MEMORY_KIB: u64 = 640;

/// The RAM with the machine's memory sizes, in bytes; sizes beyond a field's range saturate.
pub(super) fn initial(memory_below_4g: u64, memory_above_4g: u64) -> [u8; spec::SIZE] {
    let mut ram = [0; spec::SIZE];
    put(&mut ram, spec::EQUIPMENT, 1, spec::EQUIPMENT_FPU.into());
    put(&mut ram, spec::BASE_MEMORY, 2, BASE_MEMORY_KIB.min(memory_below_4g / KIB));
    for at in spec::EXTENDED_MEMORY {
        put(&mut ram, at, 2, memory_below_4g.saturating_sub(MIB) / KIB);
    }
    put(&mut ram, spec::MEMORY_ABOVE_16M, 2, memory_below_4g.saturating_sub(16 * MIB) / (64 * KIB));
    put(&mut ram, spec::MEMORY_ABOVE_4G, 3, memory_above_4g / (64 * KIB));
    let sum: u64 = spec::CHECKSUM_RANGE.map(|at| u64::from(ram[usize::from(at)])).sum();
    put(&mut ram, spec::CHECKSUM, 1, sum >> 8);
    put(&mut ram, spec::CHECKSUM + 1, 1, sum & 0xff);
    ram
}

/// Stores `value` little-endian in `len` bytes, the largest that fits if it doesn't.
fn put(ram: &mut [u8; spec::SIZE], at: u8, len: usize, value: u64) {
    let fits = value.min((1 << (8 * len)) - 1);
    for (byte, value) in ram.iter_mut().skip(usize::from(at)).zip(fits.to_le_bytes()).take(len) {
        *byte = value;
    }
}
