// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The loader: damaged kernels of every kind into small guests.

use std::ops::Range;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_ref::layout;
use vmm_ref::loader::{load_images, memory_map, parse, unpack};
use vmm_ref::loader::{Boot, BzImage, Image, ImageKind, Images, MachineInfo, MapKind, Module};

use crate::code::{pick, Num, Scenario};
use crate::images::IMAGES;

/// A run.
pub type Input = Scenario<Setup, Op>;

fields! {
    /// The kernel before the damage, and the machine.
    pub struct Setup {
        /// One of the images, or (beyond them) an empty file.
        image: u8,
        memory: u8,
        initramfs: Option<u16>,
        cmdline: u16,
        rsdp: bool,
    }
}

ops! {
    /// Damage to the kernel's file.
    pub enum Op {
        Byte { at: u16, value: u8 },
        Word { at: u16, value: u16 },
        Dword { at: u16, value: u32 },
        /// A number of any size, 8 bytes wide, as 64-bit ELF has them.
        Qword { at: u16, value: Num },
        Truncate { len: u16 },
        Append { bytes: [u8; 8] },
        /// A copy of a part of another image.
        Splice { image: u8, from: u16, to: u16, len: u8 },
    }
}

/// Guest memory in KiB: some too small for anything.
const MEMORY_KIB: [u64; 6] = [4096, 2300, 1024, 640, 64, 1];

/// Damages the kernel, loads it, and looks at what it did to guest memory.
pub fn run(input: &Input) {
    let mut kernel = IMAGES.get(usize::from(input.setup.image)).cloned().unwrap_or_default();
    input.ops.iter().for_each(|op| damage(&mut kernel, op));
    let mem = memory(pick(&MEMORY_KIB, input.setup.memory) << 10);
    let tables = mark_tables(&mem);
    let initramfs: Option<Vec<u8>> =
        input.setup.initramfs.map(|len| (0..len).map(|n| n as u8 | 1).collect());
    let cmdline = "c".repeat(input.setup.cmdline.into());
    let module = |bytes| Module { name: "initrd.img", bytes };
    let images = Images {
        kernel_name: "kernel",
        kernel: &kernel,
        initramfs: initramfs.as_deref().map(module),
        cmdline: &cmdline,
    };
    let info = MachineInfo { rsdp: input.setup.rsdp.then_some(layout::BIOS_AREA) };
    if let Ok(boot) = load_images(&mem, &images, &info) {
        check(&mem, &boot, &images);
    }
    assert_eq!(read_tables(&mem), tables, "the ACPI tables were overwritten");
    check_unpack(&kernel);
}

fn damage(file: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Byte { at, value } => overwrite(file, *at, &[*value]),
        Op::Word { at, value } => overwrite(file, *at, &value.to_le_bytes()),
        Op::Dword { at, value } => overwrite(file, *at, &value.to_le_bytes()),
        Op::Qword { at, value } => overwrite(file, *at, &value.0.to_le_bytes()),
        Op::Truncate { len } => file.truncate((*len).into()),
        Op::Append { bytes } => file.extend_from_slice(bytes),
        Op::Splice { image, from, to, len } => {
            let other = &IMAGES[usize::from(*image) % IMAGES.len()];
            let from = usize::from(*from).min(other.len());
            let end = other.len().min(from + usize::from(*len));
            overwrite(file, *to, &other[from..end]);
        }
    }
}

fn overwrite(file: &mut [u8], at: u16, bytes: &[u8]) {
    file.iter_mut().skip(at.into()).zip(bytes).for_each(|(to, from)| *to = *from);
}

fn memory(size: u64) -> GuestMemoryMmap {
    let regions: Vec<_> = layout::ram_regions(size)
        .into_iter()
        .map(|(start, len)| (GuestAddress(start), len as usize))
        .collect();
    GuestMemoryMmap::from_ranges(&regions).expect("a few MiB")
}

const TABLES: u64 = layout::ACPI_END - layout::BIOS_AREA;

/// Fills the place of the ACPI tables, which are there before the kernel.
fn mark_tables(mem: &GuestMemoryMmap) -> Option<Vec<u8>> {
    let marks: Vec<u8> = (0..TABLES).map(|n| (n % 251) as u8).collect();
    mem.write_slice(&marks, GuestAddress(layout::BIOS_AREA)).ok().map(|()| marks)
}

fn read_tables(mem: &GuestMemoryMmap) -> Option<Vec<u8>> {
    let mut marks = vec![0; TABLES as usize];
    mem.read_slice(&mut marks, GuestAddress(layout::BIOS_AREA)).ok().map(|()| marks)
}

/// What was loaded is in RAM, whole, and nothing lies on anything else.
fn check(mem: &GuestMemoryMmap, boot: &Boot, images: &Images<'_>) {
    let boot_data = layout::GDT..layout::BOOT_DATA_END;
    assert!(!boot.kernel.is_empty(), "a kernel without a byte");
    check_in_ram(mem, &boot.kernel);
    assert_eq!(boot.initramfs.is_some(), images.initramfs.is_some());
    if let (Some(range), Some(module)) = (&boot.initramfs, &images.initramfs) {
        check_in_ram(mem, range);
        assert!(disjoint(range, &boot.kernel) && disjoint(range, &boot_data));
        let mut bytes = vec![0; module.bytes.len()];
        mem.read_slice(&mut bytes, GuestAddress(range.start)).expect("in RAM");
        assert!(bytes == module.bytes, "the initramfs is damaged");
    }
    if boot.kind != ImageKind::Multiboot {
        let mut cmdline = vec![0; images.cmdline.len() + 1];
        mem.read_slice(&mut cmdline, GuestAddress(layout::CMDLINE)).expect("in RAM");
        assert_eq!(cmdline.strip_suffix(&[0]), Some(images.cmdline.as_bytes()));
    }
    let registers = boot.entry.system_registers();
    assert_eq!(registers.gdt.base, layout::GDT);
    let mut code = [0; 8];
    let at = layout::GDT + u64::from(registers.cs.selector);
    mem.read_slice(&mut code, GuestAddress(at)).expect("in RAM");
    assert_eq!(u64::from_le_bytes(code), registers.cs.descriptor(), "the GDT was overwritten");
    check_segments(mem, images.kernel);
}

/// Every segment is where the file wants it, as it is in the file.
fn check_segments(mem: &GuestMemoryMmap, kernel: &[u8]) {
    let segments = match parse(kernel) {
        Ok(Image::Vmlinux(elf) | Image::Pvh(elf, _)) => elf.segments,
        Ok(Image::Multiboot(image)) => image.segments,
        _ => return,
    };
    for segment in segments {
        let mut bytes = vec![0xff; segment.size as usize];
        mem.read_slice(&mut bytes, GuestAddress(segment.address)).expect("in RAM");
        let (text, bss) = bytes.split_at(segment.bytes.len());
        assert!(text == segment.bytes, "the kernel is damaged");
        assert!(bss.iter().all(|byte| *byte == 0), "the kernel's bss is not zero");
    }
}

fn check_in_ram(mem: &GuestMemoryMmap, range: &Range<u64>) {
    let ends: Vec<_> = memory_map(mem)
        .iter()
        .filter(|entry| entry.kind == MapKind::Ram || entry.start >= layout::ACPI_END)
        .map(|entry| entry.start + entry.size)
        .collect();
    assert!(ends.iter().any(|end| range.end <= *end), "{range:x?} ends outside of RAM");
}

fn disjoint(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.end <= b.start || b.end <= a.start
}

/// The decoders alone keep to a limit that most payloads exceed.
fn check_unpack(kernel: &[u8]) {
    let Ok(Image::BzImage(BzImage { payload: Some(payload), .. })) = parse(kernel) else { return };
    for limit in [100, 1 << 16] {
        if let Ok(Some(unpacked)) = unpack(payload, limit) {
            assert!(unpacked.len() as u64 <= limit);
        }
    }
}

/// Inputs to start from.
pub fn seeds() -> Vec<(&'static str, Input)> {
    let setup = |image| Setup { image, memory: 0, initramfs: Some(5000), cmdline: 20, rsdp: true };
    let whole = |image| Input { setup: setup(image), ops: Vec::new() };
    let damaged = |image, ops| Input { setup: setup(image), ops };
    let low_memory = Setup { memory: 1, initramfs: Some(60_000), cmdline: 3000, ..setup(5) };
    let at_address =
        |image, address| damaged(image, vec![Op::Qword { at: 88, value: Num(address) }]);
    let with_trailer = |len: u32| {
        let file = IMAGES[1].len() as u16;
        // The payload ends in up to 15 bytes of padding.
        (4..20).map(move |back| Op::Dword { at: file - back, value: len }).collect()
    };
    vec![
        ("segment_on_tables", at_address(5, layout::BIOS_AREA)),
        ("segment_on_zero_page", at_address(5, layout::ZERO_PAGE)),
        ("segment_on_gdt", at_address(6, layout::GDT)),
        ("segment_on_page_tables", at_address(6, layout::PAGE_TABLES)),
        ("payload_says_less", damaged(1, with_trailer(64))),
        ("bzimage_gzip", whole(0)),
        ("bzimage_lz4", whole(1)),
        ("bzimage_zstd", whole(2)),
        ("bzimage_xz", whole(3)),
        ("bzimage_other", whole(4)),
        ("vmlinux", whole(5)),
        ("pvh", whole(6)),
        ("multiboot_elf", whole(7)),
        ("multiboot_flat", whole(8)),
        ("bzimage_plain", whole(9)),
        ("low_memory", Input { setup: low_memory, ops: Vec::new() }),
        // p_paddr of the only segment; e_phoff; e_phnum.
        ("segment_high", damaged(5, vec![Op::Qword { at: 64 + 24, value: Num(u64::MAX - 8) }])),
        ("headers_beyond", damaged(5, vec![Op::Qword { at: 32, value: Num(1 << 63) }])),
        ("many_headers", damaged(6, vec![Op::Word { at: 56, value: 0xffff }])),
        ("old_protocol", damaged(4, vec![Op::Word { at: 0x206, value: 0x202 }])),
        ("payload_beyond", damaged(0, vec![Op::Dword { at: 0x24c, value: u32::MAX }])),
        ("truncated", damaged(3, vec![Op::Truncate { len: 3300 }])),
    ]
}
