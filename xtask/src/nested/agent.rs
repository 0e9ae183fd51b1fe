// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Process 1 of the rig's machine: loads KVM, runs the cases, powers off.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{bail, ensure, Context, Result};

use super::image;
use super::record::{self, Kind};
use crate::guests::cases;
use crate::guests::driver::{self, Audience, Files};

/// The port on which records go out; kernel messages have the first one to themselves.
const RECORDS: &str = "/dev/ttyS1";

/// QEMU's emulated SVM forgets the STI shadow when it leaves a guest between STI and HLT: the
/// interrupt is then taken before the HLT, which sleeps until the next one. A guest that keeps
/// its tick while it is idle sleeps 4 ms then; a tickless one might for minutes.
const CMDLINE: &str = "nohz=off";

/// Runs the cases and powers the machine off. Refuses to do so anywhere else.
pub fn main() -> Result<ExitCode> {
    ensure!(
        std::process::id() == 1,
        "rig-agent is process 1 of the nested rig's machine; use `cargo xtask guests --on nested`"
    );
    let why = match serve() {
        Ok(()) => String::new(),
        Err(error) => format!("{error:#}"),
    };
    if !why.is_empty() {
        println!("rig: {why}");
    }
    if let Ok(mut records) = open_records() {
        let _ = record::write(&mut records, Kind::Done, "-", why.as_bytes());
        drain(&records);
    }
    match power_off() {
        Ok(never) => match never {},
        Err(error) => Err(error).context("cannot power off"),
    }
}

fn serve() -> Result<()> {
    mount("proc", "/proc")?;
    mount("sysfs", "/sys")?;
    mount("devtmpfs", "/dev")?;
    fs::create_dir_all("/dev/pts")?;
    mount("devpts", "/dev/pts")?;
    mount("tmpfs", "/tmp")?;
    let mut records = open_records()?;
    load_modules(Path::new(image::MODULES))?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .context("the modules are loaded but /dev/kvm does not open")?;
    let ready = format!("/dev/kvm after {:.1} s", uptime()?);
    println!("rig: {ready}");
    record::write(&mut records, Kind::Ready, "-", ready.as_bytes())?;

    let files = Files {
        vmm: Path::new(image::VMM),
        kernel: Path::new(image::KERNEL),
        initramfs: Path::new(image::INITRAMFS),
        bare: Path::new(image::BARE),
        backend: "kvm",
        cmdline: CMDLINE,
    };
    let cases = fs::read_to_string(image::CASES).context("there is no list of cases")?;
    for name in cases.lines() {
        let case = cases::find(name).with_context(|| format!("no case is called {name}"))?;
        record::write(&mut records, Kind::Start, name, b"")?;
        let ending = driver::run(&case, &files, &mut Wire { records: &mut records, case: name })?;
        record::write(&mut records, Kind::End, name, ending.to_text().as_bytes())?;
    }
    Ok(())
}

/// Sends a case's output to the host.
struct Wire<'a> {
    records: &'a mut File,
    case: &'a str,
}

impl Audience for Wire<'_> {
    fn console(&mut self, bytes: &[u8]) -> io::Result<()> {
        record::write(self.records, Kind::Console, self.case, bytes)
    }

    fn log(&mut self, bytes: &[u8]) -> io::Result<()> {
        record::write(self.records, Kind::Log, self.case, bytes)
    }
}

/// The port for records, passing bytes through as they are.
fn open_records() -> Result<File> {
    let port = OpenOptions::new()
        .write(true)
        .open(RECORDS)
        .with_context(|| format!("the machine has no second serial port ({RECORDS})"))?;
    // SAFETY: an all-zero termios is a valid value that tcgetattr overwrites; the calls get
    // pointers to it that are valid for their time.
    let result = unsafe {
        let mut termios: libc::termios = std::mem::zeroed();
        match libc::tcgetattr(port.as_raw_fd(), &mut termios) {
            0 => {
                libc::cfmakeraw(&mut termios);
                libc::tcsetattr(port.as_raw_fd(), libc::TCSANOW, &termios)
            }
            error => error,
        }
    };
    ensure!(result == 0, "cannot set up {RECORDS}: {}", io::Error::last_os_error());
    Ok(port)
}

/// Waits until the port has sent everything.
fn drain(port: &File) {
    // SAFETY: tcdrain works on a descriptor that `port` keeps open.
    unsafe { libc::tcdrain(port.as_raw_fd()) };
}

/// Loads every module of a directory, in the order of the names.
fn load_modules(directory: &Path) -> Result<()> {
    let mut modules: Vec<_> =
        fs::read_dir(directory)?.flatten().map(|entry| entry.path()).collect();
    modules.sort();
    for module in modules {
        let file = File::open(&module)?;
        let none = CString::default();
        // SAFETY: finit_module reads a NUL-terminated string, which `none` is, from a
        // descriptor that `file` keeps open.
        let result =
            unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), none.as_ptr(), 0) };
        if result != 0 {
            bail!("cannot load {}: {}", module.display(), io::Error::last_os_error());
        }
    }
    Ok(())
}

fn mount(kind: &str, on: &str) -> Result<()> {
    let (kind_c, on_c) = (CString::new(kind)?, CString::new(on)?);
    // SAFETY: the strings are NUL-terminated and live across the call; no data is passed.
    let result = unsafe {
        libc::mount(kind_c.as_ptr(), on_c.as_ptr(), kind_c.as_ptr(), 0, std::ptr::null())
    };
    ensure!(result == 0, "cannot mount {kind} on {on}: {}", io::Error::last_os_error());
    Ok(())
}

fn uptime() -> Result<f64> {
    let text = fs::read_to_string("/proc/uptime")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

fn power_off() -> io::Result<Infallible> {
    // SAFETY: reboot with a command has no memory arguments; sync has none at all.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_POWER_OFF);
    }
    Err(io::Error::last_os_error())
}
