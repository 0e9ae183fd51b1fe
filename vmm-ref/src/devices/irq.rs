// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The wire from a device to the interrupt controllers.

use std::sync::{Arc, Mutex};

/// One interrupt line, as the device at its end sees it.
///
/// A line has a level and the device owns it: it says "asserted" and "not asserted", whether the
/// controller at the other end looks at levels or at edges. Devices call [`set`](IrqLine::set) on
/// changes only, so each call with `true` is an edge.
pub trait IrqLine: Send + Sync {
    /// Drives the line: `true` asserts it.
    fn set(&self, level: bool);

    /// Raises and lowers the line: one edge.
    fn pulse(&self) {
        self.set(true);
        self.set(false);
    }
}

/// A line as devices hold it.
pub type SharedIrqLine = Arc<dyn IrqLine>;

impl<F: Fn(bool) + Send + Sync> IrqLine for F {
    fn set(&self, level: bool) {
        self(level);
    }
}

/// A line that leads nowhere: for a device whose interrupt no controller takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unconnected;

impl IrqLine for Unconnected {
    fn set(&self, _level: bool) {}
}

/// A line that remembers its levels, for tests.
#[derive(Debug, Default)]
pub struct RecordedLine(Mutex<Vec<bool>>);

impl RecordedLine {
    /// A line that starts not asserted.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The level now.
    pub fn level(&self) -> bool {
        self.0.lock().is_ok_and(|levels| levels.last() == Some(&true))
    }

    /// How often the line went from not asserted to asserted: what an edge-triggered input sees.
    pub fn edges(&self) -> usize {
        let mut before = false;
        let mut edges = 0;
        for level in self.levels() {
            edges += usize::from(level && !before);
            before = level;
        }
        edges
    }

    /// Every level that was set, in order.
    pub fn levels(&self) -> Vec<bool> {
        self.0.lock().map(|levels| levels.clone()).unwrap_or_default()
    }
}

impl IrqLine for RecordedLine {
    fn set(&self, level: bool) {
        if let Ok(mut levels) = self.0.lock() {
            levels.push(level);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_line_counts_rising_edges_only() {
        let line = RecordedLine::new();
        line.pulse();
        line.set(true);
        line.set(true);
        assert_eq!((line.edges(), line.level()), (2, true));
        line.set(false);
        assert_eq!((line.edges(), line.level()), (2, false));
    }

    #[test]
    fn a_closure_is_a_line() {
        let seen = Arc::new(RecordedLine::default());
        let line: SharedIrqLine = Arc::new({
            let seen = seen.clone();
            move |level| seen.set(level)
        });
        line.pulse();
        assert_eq!(seen.levels(), [true, false]);
    }
}
