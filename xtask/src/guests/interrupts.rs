// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What must be true of a guest's console: its `/proc/interrupts`, and the absence of complaints.
//!
//! Format: Linux Documentation/filesystems/proc.rst, "interrupts in /proc": a line of CPU
//! names, then one row for each line: id, a count for each CPU, and words about it.

/// A condition on the console's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// No kernel message says that an interrupt was spurious, lost, unhandled or in error, and
    /// the rows ERR, MIS and SPU count nothing.
    NoComplaints,
    /// So many CPUs have a column.
    Online(u32),
    /// A row with this id is served by this chip and has counted.
    Row(&'static str, &'static str),
    /// There is no row with this id, or it has counted nothing (Linux shows LOC without a LAPIC).
    Silent(&'static str),
    /// No row is served by this chip.
    NoChip(&'static str),
    /// The row with this id or name counted between the two looks.
    Grows(&'static str),
    /// The row with this id counted on each CPU between the two looks.
    GrowsOnEachCpu(&'static str),
    /// The row with this id has counted on each CPU.
    OnEachCpu(&'static str),
}

/// What Linux says when an interrupt goes astray; compared in lower case.
const COMPLAINTS: [&str; 4] = ["spurious", "lost", "nobody cared", "apic error"];

impl Check {
    /// Whether it holds; if not, a sentence that says so.
    pub fn on(&self, console: &str) -> Result<(), String> {
        if *self == Self::NoComplaints {
            return no_complaints(console);
        }
        let before = Table::of(console, "before")?;
        let after = Table::of(console, "after")?;
        match *self {
            Self::NoComplaints => Ok(()),
            Self::Online(cpus) => {
                let seen = after.cpus;
                holds(seen == cpus as usize, || format!("{seen} CPUs are online, not {cpus}"))
            }
            Self::Row(id, chip) => {
                let row = after.row(id)?;
                holds(row.about.contains(chip), || format!("{id} is not {chip}: {}", row.line()))?;
                holds(row.total() > 0, || format!("{id} has not counted: {}", row.line()))
            }
            Self::Silent(id) => match after.row(id) {
                Ok(row) => holds(row.total() == 0, || format!("{id} counts: {}", row.line())),
                Err(_) => Ok(()),
            },
            Self::NoChip(chip) => {
                let row = after.rows.iter().find(|row| row.about.contains(chip));
                holds(row.is_none(), || {
                    format!("a row is {chip}: {}", row.map(Row::line).unwrap_or_default())
                })
            }
            Self::Grows(id) => {
                let (old, new) = (before.row(id)?.total(), after.row(id)?.total());
                holds(new > old, || format!("{id} does not count: {old}, then {new}"))
            }
            Self::GrowsOnEachCpu(id) => {
                let (old, new) = (before.row(id)?, after.row(id)?);
                let grows = old.counts.iter().zip(&new.counts).all(|(old, new)| new > old);
                holds(grows && old.counts.len() == new.counts.len(), || {
                    format!("{id} does not count on each CPU: {}, then {}", old.line(), new.line())
                })
            }
            Self::OnEachCpu(id) => {
                let row = after.row(id)?;
                holds(row.counts.iter().all(|count| *count > 0), || {
                    format!("{id} has not counted on each CPU: {}", row.line())
                })
            }
        }
    }
}

fn holds(condition: bool, otherwise: impl Fn() -> String) -> Result<(), String> {
    if condition {
        Ok(())
    } else {
        Err(otherwise())
    }
}

fn no_complaints(console: &str) -> Result<(), String> {
    for line in console.lines().filter(|line| is_kernel_message(line)) {
        let lower = line.to_lowercase();
        if COMPLAINTS.iter().any(|complaint| lower.contains(complaint)) {
            return Err(format!("the kernel complains: {line}"));
        }
    }
    let Ok(after) = Table::of(console, "after") else { return Ok(()) };
    for id in ["ERR", "MIS", "SPU"] {
        if let Ok(row) = after.row(id) {
            holds(row.total() == 0, || format!("errors are counted: {}", row.line()))?;
        }
    }
    Ok(())
}

/// `[    0.123456] text`, as the kernel's log prints it.
fn is_kernel_message(line: &str) -> bool {
    let stamp = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    stamp.is_some_and(|(stamp, _)| stamp.trim().parse::<f64>().is_ok())
}

/// One look at /proc/interrupts.
struct Table {
    cpus: usize,
    rows: Vec<Row>,
}

struct Row {
    id: String,
    counts: Vec<u64>,
    about: String,
}

impl Table {
    /// The table that the command with this label printed.
    fn of(console: &str, label: &str) -> Result<Self, String> {
        let end = format!("\n@{label} 0\n");
        let missing = || format!("the console has no /proc/interrupts \"{label}\"");
        let text = &console[..console.find(&end).ok_or_else(missing)?];
        // The typed command is echoed in front of what it prints.
        let start = text.rfind(&format!("echo \"@{label} ")).ok_or_else(missing)?;
        let mut lines = text[start..].lines().skip(1).filter(|line| !is_kernel_message(line));
        let head = lines.next().ok_or_else(missing)?;
        let cpus = head.split_whitespace().filter(|word| word.starts_with("CPU")).count();
        Ok(Self { cpus, rows: lines.filter_map(|line| Row::parse(line, cpus)).collect() })
    }

    /// The row with this id, or whose device has this name.
    fn row(&self, id: &str) -> Result<&Row, String> {
        let named = |row: &&Row| row.id == id || row.about.split_whitespace().last() == Some(id);
        self.rows.iter().find(named).ok_or_else(|| format!("/proc/interrupts has no row {id}"))
    }
}

impl Row {
    fn parse(line: &str, cpus: usize) -> Option<Self> {
        let (id, rest) = line.split_once(':')?;
        let mut words = rest.split_whitespace().peekable();
        let mut counts = Vec::new();
        // ERR and MIS have one count, whatever the number of CPUs.
        while let Some(count) = words.peek().and_then(|word| word.parse().ok()) {
            if counts.len() == cpus {
                break;
            }
            counts.push(count);
            words.next();
        }
        let about = words.collect::<Vec<_>>().join(" ");
        (!counts.is_empty()).then(|| Self { id: id.trim().to_string(), counts, about })
    }

    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn line(&self) -> String {
        format!("{}: {:?} {}", self.id, self.counts, self.about)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "\
[    0.000000] Linux version 6.1
guest# cat /proc/interrupts; echo \"@before $?\"
           CPU0       CPU1       
  0:         22          0   IO-APIC   2-edge      timer
  4:         10          0   IO-APIC   4-edge      ttyS0
LOC:        100          7   Local timer interrupts
SPU:          0          0   Spurious interrupts
ERR:          0
@before 0
guest# cat /proc/interrupts; echo \"@after $?\"
           CPU0       CPU1       
  0:         22          0   IO-APIC   2-edge      timer
[   12.500000] random: crng init done
  4:         30          0   IO-APIC   4-edge      ttyS0
LOC:        150          7   Local timer interrupts
SPU:          0          0   Spurious interrupts
ERR:          0
@after 0
";

    #[test]
    fn true_conditions_hold() {
        for check in [
            Check::NoComplaints,
            Check::Online(2),
            Check::Row("0", "IO-APIC"),
            Check::NoChip("XT-PIC"),
            Check::Silent("RES"),
            Check::Silent("SPU"),
            Check::Grows("ttyS0"),
            Check::Grows("4"),
            Check::OnEachCpu("LOC"),
        ] {
            assert_eq!(check.on(CONSOLE), Ok(()), "{check:?}");
        }
    }

    #[test]
    fn false_conditions_say_why() {
        for (check, why) in [
            (Check::Online(4), "2 CPUs are online, not 4"),
            (Check::Row("0", "XT-PIC"), "0 is not XT-PIC"),
            (Check::Row("7", "IO-APIC"), "no row 7"),
            (Check::Row("SPU", "Spurious"), "has not counted"),
            (Check::NoChip("IO-APIC"), "a row is IO-APIC: 0:"),
            (Check::Silent("LOC"), "LOC counts: LOC: [150, 7]"),
            (Check::Grows("0"), "0 does not count: 22, then 22"),
            (Check::GrowsOnEachCpu("LOC"), "LOC does not count on each CPU"),
            (Check::OnEachCpu("4"), "4 has not counted on each CPU"),
        ] {
            let error = check.on(CONSOLE).unwrap_err();
            assert!(error.contains(why), "{check:?}: {error}");
        }
    }

    #[test]
    fn complaints_are_found_in_messages_and_in_counts() {
        for message in [
            "[    1.0] APIC error on CPU0: 40(40)",
            "[    1.0] irq 4: nobody cared (try booting with \"irqpoll\")",
            "[    1.0] spurious 8259A interrupt: IRQ7.",
            "[    1.0] hpet: Lost 3 RTC interrupts",
        ] {
            let console = format!("{CONSOLE}{message}\n");
            assert!(Check::NoComplaints.on(&console).is_err(), "{message}");
        }
        for row in ["SPU:          0          0", "ERR:          0"] {
            let console = CONSOLE.replace(row, &row.replace("0", "1"));
            assert!(Check::NoComplaints.on(&console).is_err(), "{row}");
        }
    }

    #[test]
    fn a_console_without_the_tables_fails_and_does_not_pass() {
        assert!(Check::Silent("LOC").on("").is_err());
        assert!(Check::Online(0).on("guest# ").is_err());
    }
}
