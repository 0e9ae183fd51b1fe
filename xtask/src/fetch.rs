// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask fetch`: Debian packages without root.
//!
//! apt resolves and downloads with state, lists and cache of its own under target/, from the
//! sources that this machine is configured for; `dpkg -x` unpacks, nothing is installed. The
//! stamp file `versions`, written last, makes every further call instant and offline.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{bail, ensure, Context, Result};

use crate::{process, qemu, ui, workspace};

/// The kernel's meta package: it depends on the current versioned image.
const KERNEL: &str = "linux-image-cloud-amd64";
/// The guest's user space in one static program.
const BUSYBOX: &str = "busybox-static";
/// The emulator, for which all libraries come along.
const QEMU: &str = "qemu-system-x86";

/// The packages' files.
pub struct Packages {
    root: PathBuf,
}

impl Packages {
    /// The directory into which everything was unpacked.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The kernel image (bzImage).
    pub fn kernel(&self) -> Result<PathBuf> {
        self.only("boot", |name| name.starts_with("vmlinuz-"))
    }

    /// The static busybox.
    pub fn busybox(&self) -> Result<PathBuf> {
        self.first(&["bin/busybox", "usr/bin/busybox"])
    }

    /// The directory with the kernel's modules.
    pub fn modules(&self) -> Result<PathBuf> {
        let modules = self.first(&["lib/modules", "usr/lib/modules"])?;
        let relative = modules.strip_prefix(&self.root).unwrap_or(&modules).to_path_buf();
        self.only(relative, |_| true)
    }

    /// The first of `candidates` that exists.
    pub fn first(&self, candidates: &[&str]) -> Result<PathBuf> {
        let found = candidates.iter().map(|path| self.root.join(path)).find(|path| path.exists());
        found.with_context(|| {
            format!("none of {} in {}: {}", candidates.join(", "), self.root.display(), again())
        })
    }

    fn only(&self, directory: impl AsRef<Path>, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
        let directory = self.root.join(directory);
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("cannot read {}: {}", directory.display(), again()))?;
        let mut found: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(&wanted))
            .map(|entry| entry.path())
            .collect();
        ensure!(
            found.len() == 1,
            "{} has {} candidates, not one: {}",
            directory.display(),
            found.len(),
            again()
        );
        Ok(found.remove(0))
    }
}

fn again() -> String {
    format!(
        "remove {} and fetch again",
        workspace::short(&workspace::target().join("xtask/debian"))
    )
}

/// `cargo xtask fetch`.
pub fn main() -> Result<ExitCode> {
    let packages = packages_with_qemu()?;
    ui::say(format!("packages are in {}", workspace::short(packages.root())));
    for line in fs::read_to_string(stamp()?)?.lines() {
        ui::detail(line);
    }
    Ok(ExitCode::SUCCESS)
}

/// Kernel and busybox, fetched now if they were not before.
pub fn packages() -> Result<Packages> {
    packages_for(false)
}

/// The same, and QEMU if this machine has none.
pub fn packages_with_qemu() -> Result<Packages> {
    packages_for(qemu::installed().is_none())
}

fn packages_for(qemu: bool) -> Result<Packages> {
    let directory = workspace::directory("debian")?;
    let versions = fs::read_to_string(stamp()?).unwrap_or_default();
    let missing = missing(&versions, qemu);
    if !missing.is_empty() {
        fetch(&directory, &versions, &missing).context("cannot fetch the Debian packages")?;
    }
    Ok(Packages { root: directory.join("root") })
}

/// What the stamp does not list.
fn missing(versions: &str, qemu: bool) -> Vec<&'static str> {
    let wanted = if qemu { &[BUSYBOX, QEMU][..] } else { &[BUSYBOX] };
    let listed = |name: &str| versions.lines().any(|line| line.split(' ').next() == Some(name));
    wanted.iter().copied().filter(|name| !listed(name)).collect()
}

fn stamp() -> Result<PathBuf> {
    Ok(workspace::directory("debian")?.join("versions"))
}

/// Fetches what is missing beside the packages in `versions`; kernel and busybox are one.
fn fetch(directory: &Path, versions: &str, missing: &[&str]) -> Result<()> {
    for program in ["apt-get", "apt-cache", "dpkg", "dpkg-deb"] {
        ensure!(
            process::which(program).is_some(),
            "{program} is not in PATH: the guests are Debian packages, so this needs a Debian \
             machine (or a Debian container)"
        );
    }
    let start = Instant::now();
    let apt = Apt::new(&directory.join("apt"))?;
    ui::say("reading the package lists (apt-get update, lists kept under target/)");
    apt.update()?;

    let root = directory.join("root");
    let mut names = Vec::new();
    if missing.contains(&BUSYBOX) {
        empty(&root)?;
        names.extend([apt.versioned_kernel()?, BUSYBOX.to_string()]);
    }
    if missing.contains(&QEMU) {
        names.extend(apt.closure(QEMU)?);
    }
    ui::say(format!("downloading {} packages", names.len()));
    let debs = empty(&directory.join("deb"))?;
    apt.download(&names, &debs)?;

    ui::say("unpacking");
    let unpacked = unpack(&debs, &root)?;
    fs::write(stamp()?, versions.to_string() + &unpacked)?;
    fs::remove_dir_all(&debs)?;
    ui::detail(format!("done in {}", ui::since(start)));
    Ok(())
}

/// Unpacks every package of a directory; the result lists them with their versions.
fn unpack(debs: &Path, root: &Path) -> Result<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(debs)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut versions = String::new();
    for (index, file) in files.iter().enumerate() {
        ui::progress(format!("[{}/{}] {}", index + 1, files.len(), file.display()));
        process::output(Command::new("dpkg").arg("-x").arg(file).arg(root))?;
        let format = "--showformat=${Package} ${Version}\n";
        let line = process::output(Command::new("dpkg-deb").arg("--show").arg(format).arg(file))?;
        versions.push_str(&String::from_utf8_lossy(&line));
    }
    ui::clear();
    Ok(versions)
}

/// apt with everything it writes in one directory.
struct Apt {
    configuration: PathBuf,
}

impl Apt {
    fn new(directory: &Path) -> Result<Self> {
        for name in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(name))?;
        }
        // An empty status file: nothing counts as installed, so the closure is complete and the
        // same on every machine.
        fs::write(directory.join("status"), "")?;
        let configuration = directory.join("apt.conf");
        fs::write(&configuration, configuration_text(directory))?;
        Ok(Self { configuration })
    }

    fn command<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.configuration).args(arguments).env("LC_ALL", "C");
        command
    }

    fn update(&self) -> Result<()> {
        let mut update = self.command("apt-get", &["update"]);
        follow(&mut update, |line| ui::progress(format!("    {line}"))).context(
            "apt-get update failed: check this machine's network and its apt sources \
             (/etc/apt/sources.list, sources.list.d)",
        )
    }

    /// The image package on which the kernel's meta package depends.
    fn versioned_kernel(&self) -> Result<String> {
        let text = process::output(&mut self.command("apt-cache", &["depends", KERNEL])).context(
            "this machine's apt sources do not offer linux-image-cloud-amd64: it is in Debian's \
             \"main\", so add a Debian source for amd64",
        )?;
        String::from_utf8_lossy(&text)
            .lines()
            .filter_map(|line| line.trim_start_matches([' ', '|']).strip_prefix("Depends: "))
            .find(|package| package.starts_with("linux-image-"))
            .map(str::to_string)
            .with_context(|| format!("{KERNEL} does not depend on an image"))
    }

    /// A package with all that it depends on, and no recommendations.
    fn closure(&self, package: &str) -> Result<Vec<String>> {
        let arguments = ["--simulate", "--no-install-recommends", "install", package];
        let text = process::output(&mut self.command("apt-get", &arguments))?;
        let names: Vec<String> = String::from_utf8_lossy(&text)
            .lines()
            .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next())
            .map(str::to_string)
            .collect();
        ensure!(names.iter().any(|name| name == package), "apt-get does not know {package}");
        Ok(names)
    }

    fn download(&self, names: &[String], directory: &Path) -> Result<()> {
        let mut download = self.command("apt-get", &["download"]);
        download.args(names).current_dir(directory);
        let mut done = 0;
        follow(&mut download, |line| {
            if line.starts_with("Get:") {
                done += 1;
                let package = line.split(' ').nth(4).unwrap_or_default();
                ui::progress(format!("[{done}/{}] {package}", names.len()));
            } else if line.starts_with("Fetched ") {
                ui::detail(line);
            }
        })
        .context("apt-get download failed: check the network, then run it again")
    }
}

fn configuration_text(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        r#"Dir::State "{directory}/state";
Dir::State::status "{directory}/status";
Dir::Cache "{directory}/cache";
// Packages for the PC, whatever else this machine installs.
APT::Architecture "amd64";
// Only root may change users, and nothing outside this directory is written.
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
// Hooks are for the machine's own package management.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"#
    )
}

/// Runs apt and passes on each line it writes; a failure is an error that quotes the last ones.
fn follow(command: &mut Command, mut line: impl FnMut(&str)) -> Result<()> {
    let mut text = String::new();
    let status = process::lines(command, |new| {
        text.push_str(new);
        text.push('\n');
        line(new);
    })?;
    ui::clear();
    if !status.success() {
        let last = process::last_lines(text.as_bytes(), 5);
        bail!("{} ended with {status}: {last}", process::name(command));
    }
    Ok(())
}

/// The directory, without what an earlier and interrupted run left in it.
fn empty(directory: &Path) -> Result<PathBuf> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("cannot empty {}", directory.display()))?;
    }
    fs::create_dir_all(directory)?;
    Ok(directory.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_writes_only_under_its_own_directory() {
        let text = configuration_text(Path::new("/somewhere/apt"));
        for key in ["Dir::State ", "Dir::State::status ", "Dir::Cache "] {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap();
            assert!(line.contains("\"/somewhere/apt/"), "{line}");
        }
        assert!(!text.contains("://"));
    }

    #[test]
    fn qemu_is_missing_only_where_it_is_wanted() {
        assert_eq!(missing("", false), [BUSYBOX]);
        assert_eq!(missing("", true), [BUSYBOX, QEMU]);
        let guest = "busybox-static 1:1.35.0-4\nlinux-image-6.1.0-56-cloud-amd64 6.1.192-2\n";
        assert_eq!(missing(guest, false), [""; 0]);
        assert_eq!(missing(guest, true), [QEMU]);
        let all = format!("{guest}qemu-system-x86 1:7.2\n");
        assert_eq!(missing(&all, true), [""; 0]);
    }

    #[test]
    fn a_failure_quotes_what_apt_said() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo bad >&2; exit 1"]);
        let error = follow(&mut command, |_| ()).unwrap_err();
        assert!(error.to_string().contains("bad"), "{error}");
    }
}
