// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every target on the stable compiler: its corpus, and the same random inputs each time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use interrupt_fuzz::{Target, TARGETS};

/// Random inputs per target.
const SAMPLES: u64 = 2000;
/// The longest of them, in bytes.
const LONGEST: u64 = 700;

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("a target")
}

fn corpus(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// Runs an input; says how to run it again if it fails.
fn run(target: &Target, input: &str, bytes: &[u8]) {
    if std::panic::catch_unwind(|| (target.run)(bytes)).is_err() {
        let path = std::env::temp_dir().join(format!("{}-{}", target.name, std::process::id()));
        fs::write(&path, bytes).expect("a temporary file");
        let (name, path) = (target.name, path.display());
        panic!("{input} fails; to see it: cargo run --bin {name} -- {path}");
    }
}

/// SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators").
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = self.next() % LONGEST;
        (0..len).map(|_| self.next() as u8).collect()
    }
}

fn replay(name: &str) {
    let target = target(name);
    let mut files = 0;
    for entry in fs::read_dir(corpus(target)).expect("a corpus") {
        let path = entry.expect("a directory entry").path();
        run(target, &path.display().to_string(), &fs::read(&path).expect("a corpus file"));
        files += 1;
    }
    assert!(files >= (target.seeds)().len());
    let mut random = Random(0x1234_5678);
    for sample in 0..SAMPLES {
        run(target, &format!("sample {sample}"), &random.bytes());
    }
}

macro_rules! replay {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { replay(stringify!($name)); })*

        #[test]
        fn every_target_is_replayed() {
            let all: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(all, [$(stringify!($name)),*]);
        }
    };
}

replay! {
    legacy_pic, legacy_pit, ioapic, lapic, destination_map, msix, router, vcpu_events, loader,
    devices, soft_vcpu,
}

#[test]
fn the_committed_seeds_are_those_of_the_source() {
    for target in TARGETS {
        let seeds: BTreeMap<_, _> = (target.seeds)().into_iter().collect();
        assert!(seeds.len() >= 3, "{} has too few seeds", target.name);
        for (name, bytes) in seeds {
            let path = corpus(target).join(name).with_extension("seed");
            let committed = fs::read(&path).unwrap_or_default();
            assert_eq!(committed, bytes, "{}: cargo run --example seeds", path.display());
        }
    }
}
