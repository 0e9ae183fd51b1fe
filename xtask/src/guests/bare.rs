// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The bare-metal guests of tests/guests, built.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::{process, workspace};

/// The list that `build-guests` writes: name, topology, CPUs in each line.
const LIST: &str = "guests.txt";

/// The guests' files.
pub struct Bare {
    /// Where they are.
    pub directory: PathBuf,
}

impl Bare {
    /// Builds them with the system's C compiler.
    pub fn build() -> Result<Self> {
        let directory = workspace::directory("bare")?;
        let mut cargo = Command::new(workspace::cargo());
        cargo
            .current_dir(workspace::root())
            .args(["run", "--quiet", "--locked", "--package", "integration"])
            .args(["--bin", "build-guests", "--"])
            .arg(&directory);
        let status = process::end_with_us(&mut cargo).status().context("cannot run cargo")?;
        ensure!(status.success(), "cannot build the bare-metal guests (cargo: {status})");
        Ok(Self { directory })
    }

    /// Their cases' names: `bare-<guest>-<topology>-<cpus>`.
    pub fn cases(&self) -> Result<Vec<String>> {
        let list = self.directory.join(LIST);
        let text =
            fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
        Ok(text.lines().map(|line| format!("bare-{}", line.replace(' ', "-"))).collect())
    }

    /// Name and content of each file.
    pub fn files(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".elf") {
                files.push((name, fs::read(entry.path())?));
            }
        }
        files.sort();
        Ok(files)
    }
}
