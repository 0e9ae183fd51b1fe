// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! No file content makes the loader panic, and none makes it write outside of RAM.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::images::{
    elf32, elf64, gzip, lz4, multiboot_header, pvh_note, vmlinux, xz, zstd, Bz, Part,
};
use super::{load, memory, MIB};
use crate::loader::{parse, unpack};

fn small_kernel() -> Vec<u8> {
    let text: Vec<u8> = (0..500u32).flat_map(|n| (n / 3).to_le_bytes()).collect();
    elf64(0x20_0000, &[Part::load(0x20_0000, &text, 0x2000)])
}

/// One valid image of every kind.
static IMAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let header = || multiboot_header(1 << 16, &[0x10_0000, 0x10_0000, 0, 0, 0x10_0020]);
    let text = || Part::load(0x20_0000, &[0x90; 64], 64);
    vec![
        Bz::with_payload(gzip(&small_kernel())).image(),
        Bz::with_payload(lz4(&small_kernel(), 500)).image(),
        Bz::with_payload(zstd(&small_kernel())).image(),
        Bz::with_payload(xz(&small_kernel())).image(),
        Bz::with_payload(b"other".to_vec()).image(),
        small_kernel(),
        elf64(0x20_0000, &[text(), pvh_note(0x20_0000)]),
        elf32(0x20_0000, &[Part::load(0x20_0000, &multiboot_header(3, &[]), 64)]),
        header(),
    ]
});

/// One payload of every format that is unpacked here.
static PAYLOADS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let kernel = small_kernel();
    vec![gzip(&kernel), lz4(&kernel, 700), zstd(&kernel), xz(&kernel)]
});

/// Overwrites bytes, mostly near the start where the headers are, and cuts the end off.
fn mutate(mut image: Vec<u8>, edits: &[(u16, u8)], keep: Option<u16>) -> Vec<u8> {
    for (at, value) in edits {
        let len = image.len();
        image[usize::from(*at) % len] = *value;
    }
    if let Some(keep) = keep {
        image.truncate(usize::from(keep) % (image.len() + 1));
    }
    image
}

fn edits() -> impl Strategy<Value = Vec<(u16, u8)>> {
    let at = prop_oneof![0x1f0u16..0x270, 0u16..200, any::<u16>()];
    let value = prop_oneof![Just(0u8), Just(0xff), Just(0x80), any::<u8>()];
    proptest::collection::vec((at, value), 0..12)
}

#[test]
fn the_unchanged_images_load() {
    for image in IMAGES.iter() {
        load(&memory(20 * MIB), image, Some(b"initramfs"), "cmdline").unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn mutated_images_load_or_fail(
        kind in 0usize..9,
        edits in edits(),
        keep in proptest::option::weighted(0.2, any::<u16>()),
    ) {
        let image = mutate(IMAGES[kind].clone(), &edits, keep);
        let _ = load(&memory(20 * MIB), &image, Some(b"initramfs"), "cmdline");
    }

    #[test]
    fn random_bytes_parse_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn mutated_payloads_unpack_or_fail(
        format in 0usize..4,
        edits in edits(),
        keep in proptest::option::weighted(0.2, any::<u16>()),
    ) {
        let payload = PAYLOADS[format].clone();
        let limit = 1 << 20;
        if let Ok(Some(unpacked)) = unpack(&mutate(payload, &edits, keep), limit) {
            prop_assert!(unpacked.len() as u64 <= limit);
        }
    }

    #[test]
    fn segments_anywhere_load_or_fail(
        address in prop_oneof![any::<u64>(), 0u64..0x80_0000],
        size in prop_oneof![any::<u64>(), 0u64..0x40_0000],
        entry in any::<u64>(),
    ) {
        let kernel = elf64(entry, &[Part::load(address, &[1; 16], size)]);
        let _ = load(&memory(20 * MIB), &kernel, None, "");
    }
}

#[test]
fn every_truncation_of_every_image_fails_or_loads() {
    for image in IMAGES.iter() {
        for len in (0..image.len()).step_by(7) {
            let _ = parse(&image[..len]);
        }
    }
    assert!(parse(&vmlinux()).is_ok());
}
