// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The rig's machine as an initramfs: KVM's modules, the agent, vmm-ref, and the guest.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::cpio::Archive;
use crate::fetch::Packages;
use crate::guests::bare::Bare;
use crate::guests::debian::Guest;
use crate::{process, ui, workspace};

/// Where things are inside the machine.
pub const AGENT: &str = "/xtask";
pub const VMM: &str = "/vmm-ref";
pub const KERNEL: &str = "/guest/vmlinuz";
pub const INITRAMFS: &str = "/guest/initramfs.cpio";
pub const BARE: &str = "/bare";
/// The names of the cases to run, one in each line: the kernel hands its init 32 words at most.
pub const CASES: &str = "/cases";
pub const MODULES: &str = "/modules";

/// The module that makes /dev/kvm on the processor that QEMU emulates.
const KVM_MODULE: &str = "kvm-amd";
/// The target is named so that RUSTFLAGS reach the programs and not the build scripts.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Makes the initramfs and returns its path.
pub fn build(
    packages: &Packages,
    guest: &Guest,
    programs: &Programs,
    bare: &Bare,
    cases: &[String],
) -> Result<PathBuf> {
    let mut archive = Archive::new();
    for directory in ["/dev", "/proc", "/sys", "/tmp", "/guest", BARE, MODULES] {
        archive.directory(directory)?;
    }
    archive.device("/dev/console", 5, 1)?;
    let modules = module_closure(&packages.modules()?, KVM_MODULE)?;
    for (index, (name, bytes)) in modules.iter().enumerate() {
        archive.file(&format!("{MODULES}/{index:02}-{name}.ko"), 0o644, bytes)?;
    }
    for (inside, outside) in [
        (AGENT, &programs.agent),
        (VMM, &programs.vmm),
        (KERNEL, &guest.kernel),
        (INITRAMFS, &guest.initramfs),
    ] {
        let bytes =
            fs::read(outside).with_context(|| format!("cannot read {}", outside.display()))?;
        archive.file(inside, 0o755, &bytes)?;
    }
    for (name, elf) in bare.files()? {
        archive.file(&format!("{BARE}/{name}"), 0o644, &elf)?;
    }
    archive.file(CASES, 0o644, cases.join("\n").as_bytes())?;
    let path = workspace::directory("nested")?.join("machine.cpio");
    fs::write(&path, archive.finish()?)?;
    Ok(path)
}

/// The project's programs, linked statically.
pub struct Programs {
    /// xtask, which is the agent.
    pub agent: PathBuf,
    /// The VMM under test.
    pub vmm: PathBuf,
}

impl Programs {
    /// Builds both in a target directory of their own.
    pub fn build() -> Result<Self> {
        ui::say("building vmm-ref, statically linked");
        let target = workspace::target().join("static");
        let mut cargo = Command::new(workspace::cargo());
        cargo
            .current_dir(workspace::root())
            .args(["build", "--locked", "--release", "--target", TARGET])
            .args(["--package", "vmm-ref", "--package", "xtask", "--bins", "--target-dir"])
            .arg(&target)
            .env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=debuginfo")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        let status = process::end_with_us(&mut cargo).status().context("cannot run cargo")?;
        ensure!(
            status.success(),
            "cannot build vmm-ref statically (cargo: {status}); if libc.a is what is missing, \
             install libc6-dev"
        );
        let programs = target.join(TARGET).join("release");
        Ok(Self { agent: programs.join("xtask"), vmm: programs.join("vmm-ref") })
    }
}

/// A module after all that it depends on, uncompressed.
fn module_closure(modules: &Path, name: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let mut loaded = Vec::new();
    add_module(modules, name, &mut BTreeSet::new(), &mut loaded)?;
    Ok(loaded)
}

fn add_module(
    modules: &Path,
    name: &str,
    visited: &mut BTreeSet<String>,
    loaded: &mut Vec<(String, Vec<u8>)>,
) -> Result<()> {
    // The two spellings of a module's name are the same module.
    if !visited.insert(name.replace('-', "_")) {
        return Ok(());
    }
    let file = find_module(&modules.join("kernel"), name)?.with_context(|| {
        format!("the kernel package has no module {name} under {}", modules.display())
    })?;
    let bytes = read_module(&file)?;
    for dependency in dependencies(&bytes) {
        add_module(modules, &dependency, visited, loaded)?;
    }
    loaded.push((name.to_string(), bytes));
    Ok(())
}

fn find_module(directory: &Path, name: &str) -> Result<Option<PathBuf>> {
    let wanted = name.replace('-', "_");
    for entry in fs::read_dir(directory)?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find_module(&path, name)? {
                return Ok(Some(found));
            }
        } else if let Some((stem, kind)) =
            entry.file_name().to_str().and_then(|n| n.split_once('.'))
        {
            if kind.starts_with("ko") && stem.replace('-', "_") == wanted {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

/// A module's bytes; newer kernel packages compress them.
fn read_module(file: &Path) -> Result<Vec<u8>> {
    let program = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(file).with_context(|| format!("cannot read {}", file.display())),
    };
    process::output(Command::new(program).arg("-dc").arg(file))
        .with_context(|| format!("cannot uncompress {}: is {program} installed?", file.display()))
}

/// The `depends=` entry of a module's .modinfo section.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = module[at + KEY.len()..].split(|&byte| byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names.split(',').filter(|name| !name.is_empty()).map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_modinfo() {
        assert_eq!(dependencies(b"x\0license=GPL\0depends=kvm,ccp\0retpoline=Y\0"), ["kvm", "ccp"]);
        assert_eq!(dependencies(b"\0depends=\0name=irqbypass\0"), Vec::<String>::new());
        assert_eq!(dependencies(b"not a module"), Vec::<String>::new());
    }

    #[test]
    fn a_module_comes_after_its_dependencies() {
        let modules = workspace::directory("image-tests").unwrap();
        fs::create_dir_all(modules.join("kernel/deep")).unwrap();
        fs::write(modules.join("kernel/deep/top-one.ko"), b"\0depends=mid_one,low\0").unwrap();
        fs::write(modules.join("kernel/mid-one.ko"), b"\0depends=low\0").unwrap();
        fs::write(modules.join("kernel/low.ko"), b"\0depends=\0").unwrap();
        let names: Vec<String> = module_closure(&modules, "top-one")
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["low", "mid_one", "top-one"]);
        assert!(module_closure(&modules, "absent").is_err());
    }
}
