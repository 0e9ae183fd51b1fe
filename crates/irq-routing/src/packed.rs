// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A message in 58 bits, so that it fits one atomic word together with its state.
//!
//! Bits 17:0 are address bits 19:2, bits 41:18 address bits 63:40, bits 57:42 data bits 15:0.
//! What is left out is fixed (0xfee in address bits 31:20), ignored (data bits 31:16) or makes
//! the address one outside the interrupt window; bits 58 and 59 remember the latter. Bits 60
//! and up are the owner's.

use crate::Msi;

/// Address bits 31:20 are not 0xfee.
const BAD_LOW: u64 = 1 << 58;
/// Address bits 39:32 are not 0.
const BAD_HIGH: u64 = 1 << 59;

const LOW_FIELD: u64 = 0x3_ffff;
const HIGH_FIELD: u64 = 0xff_ffff << 18;
const DATA_FIELD: u64 = 0xffff << 42;

/// `word` with another lower half of the address.
pub(crate) fn with_low(word: u64, low: u32) -> u64 {
    let word = word & !(LOW_FIELD | BAD_LOW) | u64::from(low >> 2) & LOW_FIELD;
    if low >> 20 == 0xfee {
        word
    } else {
        word | BAD_LOW
    }
}

/// `word` with another upper half of the address.
pub(crate) fn with_high(word: u64, high: u32) -> u64 {
    let word = word & !(HIGH_FIELD | BAD_HIGH) | u64::from(high >> 8) << 18;
    if high & 0xff == 0 {
        word
    } else {
        word | BAD_HIGH
    }
}

/// `word` with other data.
pub(crate) fn with_data(word: u64, data: u32) -> u64 {
    word & !DATA_FIELD | u64::from(data as u16) << 42
}

/// `word` with another message.
pub(crate) fn with_message(word: u64, msi: Msi) -> u64 {
    let word = with_low(word, msi.address as u32);
    with_data(with_high(word, (msi.address >> 32) as u32), msi.data)
}

/// The data.
pub(crate) fn data(word: u64) -> u16 {
    (word >> 42) as u16
}

/// The message, unless its address lies outside the interrupt window.
pub(crate) fn message(word: u64) -> Option<Msi> {
    if word & (BAD_LOW | BAD_HIGH) != 0 {
        return None;
    }
    let low = (word & LOW_FIELD) << 2 | 0xfee0_0000;
    let high = (word & HIGH_FIELD) >> 18 << 40;
    Some(Msi { address: high | low, data: data(word).into() })
}
