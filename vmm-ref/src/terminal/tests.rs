// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The terminal is as it was, whichever way the process ends.
//!
//! Each case runs this test program again as a child on a pseudo-terminal: the child enters raw
//! mode and ends in the given way.

use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::*;

/// How the child shall end.
const WAY: &str = "VMM_REF_TEST_TERMINAL_WAY";
/// Plenty, in steps of 10 ms: only a failure takes that long.
const PATIENCE: usize = 3000;

struct Pty {
    master: File,
    slave: File,
}

fn pty() -> Pty {
    let (mut master, mut slave) = (0, 0);
    // SAFETY: the two descriptors are written, the null pointers ask for defaults.
    let result =
        unsafe { libc::openpty(&mut master, &mut slave, null_mut(), null_mut(), null_mut()) };
    assert_eq!(result, 0, "openpty: {}", io::Error::last_os_error());
    // SAFETY: openpty succeeded, so both are open and nobody else's.
    unsafe { Pty { master: File::from_raw_fd(master), slave: File::from_raw_fd(slave) } }
}

/// The fields of a mode that can be compared.
fn flags(pty: &Pty) -> (u32, u32, u32, u32, [u8; 32]) {
    let mode = mode(pty.slave.as_raw_fd()).unwrap();
    (mode.c_iflag, mode.c_oflag, mode.c_cflag, mode.c_lflag, mode.c_cc)
}

fn is_raw(pty: &Pty) -> bool {
    flags(pty).3 & (libc::ICANON | libc::ECHO | libc::ISIG) == 0
}

fn spawn(pty: &Pty, way: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "terminal::tests::child"])
        .env(WAY, way)
        .stdin(pty.slave.try_clone().unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // SAFETY: the closure only makes system calls that are async-signal-safe.
    unsafe { command.pre_exec(ignore_no_signal) };
    command.spawn().unwrap()
}

/// nohup and a shell's background jobs leave some signals ignored; the tests are about the others.
fn ignore_no_signal() -> io::Result<()> {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    Ok(())
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    for _ in 0..PATIENCE {
        if condition() {
            return;
        }
        sleep(Duration::from_millis(10));
    }
    panic!("nothing happened for a long time");
}

/// Runs a child that ends in `way`, sending it the signals once it is in raw mode; the terminal
/// must be as before.
fn run(way: &str, signals: &[i32]) -> ExitStatus {
    let pty = pty();
    let before = flags(&pty);
    let mut child = spawn(&pty, way);
    wait_for(|| is_raw(&pty));
    for signal in signals {
        // SAFETY: the child is ours and has not been waited for.
        assert_eq!(unsafe { libc::kill(child.id() as i32, *signal) }, 0);
        // The first of several signals is handled before the next one comes.
        wait_for(|| !is_raw(&pty));
    }
    if signals.is_empty() {
        use std::io::Write;
        (&pty.master).write_all(b"g").unwrap();
    }
    let mut status = None;
    wait_for(|| {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(flags(&pty), before, "after {way}");
    status.unwrap()
}

/// The child's side. In the ways that wait for a key, the parent types one when it has seen raw
/// mode.
#[test]
#[ignore = "run by the other tests as a child"]
fn child() {
    let Ok(way) = std::env::var(WAY) else { return };
    let event = EventFdPair::new();
    on_termination(event.write).unwrap();
    let guard = RawMode::enter(io::stdin()).unwrap().expect("standard input is a terminal");
    if !way.starts_with("signal") {
        io::stdin().read_exact(&mut [0]).unwrap();
    }
    match way.as_str() {
        "return" => drop(guard),
        "exit" => std::process::exit(7),
        "panic" => panic!("on purpose"),
        "panic in a thread" => {
            let _ = std::thread::spawn(|| panic!("on purpose")).join();
            // No destructor and no exit handler runs: the hook alone must have done it.
            // SAFETY: _exit has no precondition.
            unsafe { libc::_exit(0) };
        }
        "abort" => std::process::abort(),
        "fault" => {
            // SAFETY: it is not: the fault is the purpose. The write ends the process.
            unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
        }
        "signal" => {
            event.read.read().unwrap();
            std::process::exit(128 + received().unwrap());
        }
        "signal to a hung process" => loop {
            sleep(Duration::from_secs(1));
        },
        other => panic!("unknown way {other}"),
    }
}

struct EventFdPair {
    read: vmm_sys_util::eventfd::EventFd,
    write: vmm_sys_util::eventfd::EventFd,
}

impl EventFdPair {
    fn new() -> Self {
        let read = vmm_sys_util::eventfd::EventFd::new(0).unwrap();
        Self { write: read.try_clone().unwrap(), read }
    }
}

#[test]
fn the_terminal_is_restored_after_return() {
    assert_eq!(run("return", &[]).code(), Some(0));
}

#[test]
fn the_terminal_is_restored_after_exit() {
    assert_eq!(run("exit", &[]).code(), Some(7));
}

#[test]
fn the_terminal_is_restored_after_a_panic() {
    assert_eq!(run("panic", &[]).code(), Some(101));
}

#[test]
fn the_terminal_is_restored_when_another_thread_panics() {
    assert_eq!(run("panic in a thread", &[]).code(), Some(0));
}

#[test]
fn the_terminal_is_restored_after_an_abort() {
    assert_eq!(run("abort", &[]).signal(), Some(libc::SIGABRT));
}

#[test]
fn the_terminal_is_restored_after_a_fault() {
    assert_eq!(run("fault", &[]).signal(), Some(libc::SIGSEGV));
}

#[test]
fn each_termination_signal_reaches_the_main_loop_and_restores_the_terminal() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        assert_eq!(run("signal", &[signal]).code(), Some(128 + signal));
    }
}

#[test]
fn a_second_signal_ends_a_process_whose_main_loop_hangs() {
    let status = run("signal to a hung process", &[libc::SIGTERM, libc::SIGINT]);
    assert_eq!(status.code(), Some(128 + libc::SIGINT));
}

#[test]
fn a_fatal_signal_sent_from_outside_restores_the_terminal() {
    let status = run("signal to a hung process", &[libc::SIGSEGV]);
    assert_eq!(status.signal(), Some(libc::SIGSEGV));
}

#[test]
fn raw_mode_keeps_line_feeds_of_our_own_messages() {
    let pty = pty();
    let raw = raw(mode(pty.slave.as_raw_fd()).unwrap());
    assert_eq!(raw.c_lflag & (libc::ICANON | libc::ECHO | libc::ISIG | libc::IEXTEN), 0);
    assert_eq!(raw.c_iflag & (libc::IXON | libc::ICRNL), 0);
    assert_ne!(raw.c_oflag & libc::OPOST, 0);
}

#[test]
fn what_is_no_terminal_stays_as_it_is() {
    let file = tempfile::tempfile().unwrap();
    assert!(RawMode::enter(&file).unwrap().is_none());
}
