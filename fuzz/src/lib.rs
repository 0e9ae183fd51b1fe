// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Fuzz targets: one module each, with the operations that a guest, the hardware and the VMM can
//! perform in any order, and what must hold after each of them.
//!
//! The modules know nothing of a fuzzer. libFuzzer runs them through `fuzz_targets/`, and
//! `cargo test` replays the corpus and a fixed sample of random inputs on any compiler.

#[macro_use]
pub mod code;

pub mod destination_map;
pub mod devices;
pub mod images;
pub mod ioapic;
pub mod lapic;
pub mod legacy_pic;
pub mod legacy_pit;
pub mod loader;
pub mod msix;
pub mod router;
pub mod soft_vcpu;
pub mod vcpu_events;

#[cfg(fuzzing)]
#[doc(hidden)]
pub use libfuzzer_sys;

/// What there is to know of a target, for tools that treat all of them alike.
pub struct Target {
    /// Its module, its binary and its directory under `corpus/`.
    pub name: &'static str,
    /// Decodes an input and runs it; panics where an invariant is broken.
    pub run: fn(&[u8]),
    /// An input in words, an operation to a line.
    pub show: fn(&[u8]) -> String,
    /// Inputs that a fuzzer would take long to find, by name.
    pub seeds: fn() -> Vec<(&'static str, Vec<u8>)>,
}

macro_rules! targets {
    ($($module:ident),* $(,)?) => {
        /// Every target.
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($module),
            run: |bytes| $module::run(&code::decode(bytes)),
            show: |bytes| code::decode::<$module::Input>(bytes).to_string(),
            seeds: || $module::seeds().iter().map(|(name, i)| (*name, code::encode(i))).collect(),
        }),*];
    };
}

targets! {
    legacy_pic, legacy_pit, ioapic, lapic, destination_map, msix, router, vcpu_events, loader,
    devices, soft_vcpu,
}

/// `main` of one target: libFuzzer's under cargo-fuzz, otherwise [`replay`].
#[macro_export]
macro_rules! fuzz_main {
    ($module:ident) => {
        #[cfg(fuzzing)]
        use $crate::libfuzzer_sys;
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|input: $crate::$module::Input| $crate::$module::run(&input));

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            $crate::replay(stringify!($module))
        }
    };
}

/// Shows and runs the files named on the command line: a crash, without the fuzzer.
///
/// # Errors
/// A file that cannot be read, or none at all.
pub fn replay(name: &str) -> std::io::Result<()> {
    let paths: Vec<_> = std::env::args_os().skip(1).collect();
    let target = TARGETS.iter().find(|target| target.name == name);
    let (Some(target), false) = (target, paths.is_empty()) else {
        return Err(std::io::Error::other("name the input files to replay"));
    };
    for path in paths {
        let bytes = std::fs::read(&path)?;
        println!("{}:\n{}", path.to_string_lossy(), (target.show)(&bytes));
        (target.run)(&bytes);
    }
    Ok(())
}
