// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Compiles the bare-metal guests with the system's C compiler into `OUT_DIR/guests`.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{exit, Command};

/// Freestanding code without SSE: a KVM without hardware virtualization emulates ring 0, and its
/// emulator has none.
const FLAGS: [&str; 18] = [
    "-std=gnu11",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-ffreestanding",
    "-fno-builtin",
    "-fno-pie",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fno-tree-loop-distribute-patterns",
    "-fno-strict-aliasing",
    "-fcf-protection=none",
    "-mno-red-zone",
    "-nostdlib",
    "-static",
    "-no-pie",
    "-Wl,--build-id=none,-z,max-page-size=4096,-z,noexecstack",
];

fn main() {
    println!("cargo:rerun-if-changed=guests");
    if let Err(error) = build() {
        eprintln!("error: {error}");
        exit(1);
    }
}

fn build() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?).join("guests");
    fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let library = ["start.S", "guest.c", "controllers.c", "smp.c"];
    let library: Vec<_> = library.iter().map(|file| Path::new("guests/lib").join(file)).collect();
    for directory in ["guests", "guests/faulty"] {
        for source in sources(Path::new(directory))? {
            let mut files = library.clone();
            files.push(source.clone());
            let target = ["-m64", "-mgeneral-regs-only", "-Wl,-T,guests/lib/link.ld"];
            compile(&target, &files, &elf(&out, &source))?;
        }
    }
    for source in sources(Path::new("guests/32bit"))? {
        let target = ["-m32", "-mgeneral-regs-only", "-Wl,-T,guests/lib/link32.ld"];
        compile(&target, std::slice::from_ref(&source), &elf(&out, &source))?;
    }
    Ok(())
}

fn sources(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries =
        fs::read_dir(directory).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let entries = entries.map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == "c"));
    paths.sort();
    Ok(paths)
}

fn elf(out: &Path, source: &Path) -> PathBuf {
    out.join(source.file_stem().unwrap_or_default()).with_extension("elf")
}

fn compile(extra: &[&str], files: &[PathBuf], output: &Path) -> Result<(), String> {
    let mut command = compiler()?;
    command.args(FLAGS).args(extra).args(["-I", "guests/lib"]).args(files).arg("-o").arg(output);
    match command.output() {
        Ok(result) if result.status.success() => Ok(()),
        Ok(result) => {
            Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&result.stderr)))
        }
        Err(error) => Err(format!(
            "cannot run the C compiler {:?} that the bare-metal guests need: {error}\n\
             Install one (Debian: apt-get install gcc libc6-dev) or set CC.",
            command.get_program()
        )),
    }
}

/// The compiler that the cc crate finds, without its default flags.
fn compiler() -> Result<Command, String> {
    let tool =
        cc::Build::new().no_default_flags(true).cargo_metadata(false).try_get_compiler().map_err(
            |error| {
                format!(
                    "no C compiler for the bare-metal guests: {error}\n\
                 Install one (Debian: apt-get install gcc libc6-dev) or set CC."
                )
            },
        )?;
    Ok(tool.to_command())
}
