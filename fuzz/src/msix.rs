// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! MSI-X: table, pending bits and routes, against the table as a plain array.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use irq_routing::msix::{CONTROL_ENABLE, CONTROL_FUNCTION_MASK};
use irq_routing::{
    Delivery, GroupError, Gsi, InterruptSourceGroup, Msi, MsiBackend, MsiFormat, MsixGroup,
    MsixState, RouteChange, SourceConfig,
};

use crate::code::{Data, Num, Scenario};

/// A run.
pub type Input = Scenario<Setup, Op>;

fields! {
    /// The table's size.
    pub struct Setup {
        vectors: u16,
    }
}

ops! {
    /// What guest, device and VMM can do.
    pub enum Op {
        /// One dword of an entry.
        Write { vector: u8, dword: u8, value: u32 },
        RawWrite { offset: Num, data: Data },
        RawRead { offset: Num, data: Data },
        ReadPba { offset: Num, data: Data },
        Control { value: u16 },
        Enable,
        Disable,
        Trigger { vector: u16 },
        Mask { vector: u16 },
        Unmask { vector: u16 },
        ClearPending { vector: u16 },
        Update { vector: u16, address: Num, data: u32, masked: bool },
        Notifier { vector: u16 },
        /// Whether the hypervisor takes routes from here on.
        Refuse { routes: bool },
        Reset,
        SaveRestore,
        Restore { vector: u16, entry: [u32; 4], pending: u64, control: u16 },
    }
}

/// The machine: GSIs, routes, and what was sent.
#[derive(Default)]
struct Machine {
    sent: Vec<Msi>,
    taken: BTreeMap<u32, Option<Msi>>,
    next: u32,
    refuses: bool,
}

#[derive(Clone, Default)]
struct Backend(Arc<Mutex<Machine>>);

impl Backend {
    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().expect("nobody panics with the lock held")
    }
}

/// GSIs that the machine has.
const GSIS: u32 = 40;

impl MsiBackend for Backend {
    type Notifier = u32;

    fn send(&self, msi: Msi) -> Delivery {
        self.machine().sent.push(msi);
        Delivery::Delivered(1)
    }

    fn take_gsi(&self) -> Result<Gsi, GroupError> {
        let mut machine = self.machine();
        if machine.taken.len() as u32 >= GSIS {
            return Err(GroupError::NoGsi);
        }
        let gsi = machine.next;
        machine.next += 1;
        machine.taken.insert(gsi, None);
        Ok(Gsi(gsi))
    }

    fn put_gsi(&self, gsi: Gsi) {
        assert_eq!(self.machine().taken.remove(&gsi.0), Some(None), "given back with its route");
    }

    fn set_routes(&self, changes: &[RouteChange]) -> Result<(), GroupError> {
        let mut machine = self.machine();
        // A real one could refuse a withdrawal too; the group then has nothing left to do.
        if machine.refuses && changes.iter().any(|change| change.msi.is_some()) {
            return Err(GroupError::Hypervisor(12));
        }
        for change in changes {
            *machine.taken.get_mut(&change.gsi.0).expect("a GSI of the group's") = change.msi;
        }
        Ok(())
    }

    fn notifier(&self, gsi: Gsi) -> Option<u32> {
        Some(gsi.0)
    }
}

/// One entry as the guest sees it.
#[derive(Clone, Copy)]
struct Entry {
    dwords: [u32; 4],
    pending: bool,
    gsi: Option<u32>,
}

const RESET: Entry = Entry { dwords: [0, 0, 0, 1], pending: false, gsi: None };

struct Rig {
    group: MsixGroup<Backend>,
    backend: Backend,
    table: Vec<Entry>,
    control: u16,
    /// What the guest may expect to have been sent by this operation.
    expected: Vec<Msi>,
    /// Some routes may be behind: the hypervisor refused.
    stale: bool,
}

/// Runs the operations and compares the group with the plain table after each.
pub fn run(input: &Input) {
    let vectors = usize::from(input.setup.vectors % 130) + 1;
    let backend = Backend::default();
    let mut rig = Rig {
        group: MsixGroup::new(backend.clone(), vectors).expect("1 to 2048 vectors"),
        backend: backend.clone(),
        table: vec![RESET; vectors],
        control: 0,
        expected: Vec::new(),
        stale: false,
    };
    for op in &input.ops {
        rig.expected.clear();
        rig.apply(op);
        rig.check(op);
    }
    drop(rig);
    assert!(backend.machine().taken.is_empty(), "GSIs that nobody gave back");
}

impl Entry {
    /// The message, if it lies in the interrupt window of an x86 machine.
    fn message(&self) -> Option<Msi> {
        let address = u64::from(self.dwords[1]) << 32 | u64::from(self.dwords[0]);
        let window = address & 0xff_fff0_0000 == 0xfee0_0000;
        window.then_some(Msi { address, data: self.dwords[2] & 0xffff })
    }
}

impl Rig {
    fn silent(&self, index: usize) -> bool {
        self.control != CONTROL_ENABLE || self.table[index].dwords[3] & 1 != 0
    }

    /// What is pending and no longer held back goes out, in table order.
    fn flush(&mut self) {
        for index in 0..self.table.len() {
            if self.table[index].pending && !self.silent(index) {
                self.table[index].pending = false;
                self.expected.extend(self.table[index].message());
            }
        }
    }

    /// Bytes of the table, all of an entry at once.
    fn store(&mut self, offset: u64, data: &[u8]) {
        for (byte, n) in data.iter().zip(0..) {
            let Some(at) = offset.checked_add(n) else { continue };
            let (index, dword) = ((at / 16) as usize, (at / 4 % 4) as usize);
            let shift = (at % 4) * 8;
            if let Some(entry) = self.table.get_mut(index) {
                let value = &mut entry.dwords[dword];
                *value = *value & !(0xff << shift) | u32::from(*byte) << shift;
                entry.dwords[0] &= !3;
                entry.dwords[3] &= 1;
            }
        }
        self.flush();
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let result = self.group.write_table(offset, data);
        self.note(result);
        self.store(offset, data);
    }

    fn note(&mut self, result: Result<(), GroupError>) {
        if let Err(error) = result {
            assert_eq!(error, GroupError::Hypervisor(12));
            self.stale = true;
        }
    }

    fn apply(&mut self, op: &Op) {
        let len = self.table.len();
        let entry = |vector: &u16| Some(usize::from(*vector)).filter(|index| *index < len);
        match op {
            Op::Write { vector, dword, value } => {
                let offset = u64::from(*vector) * 16 + u64::from(dword % 4) * 4;
                self.write(offset, &value.to_le_bytes());
            }
            Op::RawWrite { offset, data } => self.write(offset.0, &data.0),
            Op::RawRead { offset, data } => self.read(offset.0, data.0.clone()),
            Op::ReadPba { offset, data } => self.read_pba(offset.0, data.0.clone()),
            Op::Control { value } => self.set_control(*value),
            Op::Enable => {
                let result = self.group.enable();
                let off = result.is_err();
                self.note(result);
                self.control |= CONTROL_ENABLE;
                self.flush();
                if off {
                    self.control &= !CONTROL_ENABLE;
                }
            }
            Op::Disable => {
                let result = self.group.disable();
                self.note(result);
                self.control &= !CONTROL_ENABLE;
            }
            Op::Trigger { vector } => self.trigger(usize::from(*vector)),
            Op::Mask { vector } => {
                let result = self.group.mask((*vector).into());
                self.note_index(result, entry(vector), |entry| entry.dwords[3] = 1);
            }
            Op::Unmask { vector } => {
                let result = self.group.unmask((*vector).into());
                self.note_index(result, entry(vector), |entry| entry.dwords[3] = 0);
            }
            Op::ClearPending { vector } => {
                let result = self.group.clear_pending((*vector).into());
                self.note_index(result, entry(vector), |entry| entry.pending = false);
            }
            Op::Update { vector, address, data, masked } => {
                let msi = Msi { address: address.0, data: *data };
                let result = self.group.update((*vector).into(), SourceConfig::Msi(msi), *masked);
                if let Err(GroupError::InvalidMsi(error)) = result {
                    assert_eq!(msi.decode(MsiFormat::Xapic), Err(error));
                    return;
                }
                let words =
                    [address.0 as u32 & !3, (address.0 >> 32) as u32, *data, (*masked).into()];
                self.note_index(result, entry(vector), |entry| entry.dwords = words);
            }
            Op::Notifier { vector } => self.notifier(*vector),
            Op::Refuse { routes } => self.backend.machine().refuses = *routes,
            Op::Reset => {
                let result = self.group.reset();
                self.note(result);
                self.control = 0;
                self.table.iter_mut().for_each(|entry| *entry = Entry { gsi: entry.gsi, ..RESET });
            }
            Op::SaveRestore => self.save_restore(),
            Op::Restore { vector, entry, pending, control } => {
                let mut state = self.group.state();
                state.entries[usize::from(*vector) % len] = *entry;
                state.pending[0] = *pending;
                state.control = *control;
                self.restore(&state);
            }
        }
    }

    fn note_index(
        &mut self,
        result: Result<(), GroupError>,
        index: Option<usize>,
        change: impl FnOnce(&mut Entry),
    ) {
        let Some(index) = index else {
            assert!(matches!(result, Err(GroupError::InvalidIndex(_))));
            return;
        };
        self.note(result);
        change(&mut self.table[index]);
        self.flush();
    }

    fn set_control(&mut self, value: u16) {
        let result = self.group.set_control(value);
        self.note(result);
        self.control = value & (CONTROL_ENABLE | CONTROL_FUNCTION_MASK);
        self.flush();
    }

    fn trigger(&mut self, index: usize) {
        let answer = self.group.trigger(index);
        if index >= self.table.len() {
            assert_eq!(answer, Err(GroupError::InvalidIndex(index)));
        } else if self.control & CONTROL_ENABLE == 0 {
            assert_eq!(answer, Ok(Delivery::Ignored));
        } else if self.silent(index) {
            assert_eq!(answer, Ok(Delivery::Coalesced));
            self.table[index].pending = true;
        } else {
            let message = self.table[index].message();
            let sent = if message.is_some() { Delivery::Delivered(1) } else { Delivery::Ignored };
            assert_eq!(answer, Ok(sent));
            self.expected.extend(message);
        }
    }

    fn notifier(&mut self, vector: u16) {
        let index = usize::from(vector);
        let result = self.group.notifier(index);
        if index >= self.table.len() {
            assert_eq!(result, Err(GroupError::InvalidIndex(index)));
            return;
        }
        let gsi = match result {
            Ok(gsi) => gsi,
            Err(GroupError::NoGsi) => return,
            Err(error) => {
                self.note(Err(error));
                // It has its GSI all the same: the next call says which.
                let refuses = std::mem::take(&mut self.backend.machine().refuses);
                let gsi = self.group.notifier(index).expect("a notifier");
                self.backend.machine().refuses = refuses;
                gsi
            }
        };
        assert!(self.table[index].gsi.is_none_or(|before| before == gsi), "one for all calls");
        self.table[index].gsi = Some(gsi);
    }

    fn save_restore(&mut self) {
        let state = self.group.state();
        let fresh = MsixGroup::new(Backend::default(), self.table.len()).expect("the same size");
        fresh.restore(&state).expect("a state that can be reached can be restored");
        assert_eq!(fresh.state(), state, "save, restore, save");
        self.restore(&state);
    }

    fn restore(&mut self, state: &MsixState) {
        let before = self.group.state();
        match self.group.restore(state) {
            Err(GroupError::InvalidState) => {
                assert_eq!(self.group.state(), before, "nothing changed");
                return;
            }
            result => self.note(result),
        }
        assert_eq!(self.group.state(), *state, "save, restore, save");
        self.control = state.control;
        for (index, entry) in self.table.iter_mut().enumerate() {
            entry.dwords = state.entries[index];
            entry.pending = state.pending[index / 64] >> (index % 64) & 1 != 0;
        }
    }

    fn read(&self, offset: u64, mut data: Vec<u8>) {
        self.group.read_table(offset, &mut data);
        for (byte, n) in data.iter().zip(0..) {
            let at = offset.saturating_add(n);
            let dword = usize::try_from(at / 16).ok().and_then(|index| self.table.get(index));
            let dword = dword.map_or(0, |entry| entry.dwords[(at / 4 % 4) as usize]);
            assert_eq!(*byte, (dword >> ((at % 4) * 8)) as u8, "byte {at:#x}");
        }
    }

    fn read_pba(&self, offset: u64, mut data: Vec<u8>) {
        self.group.read_pba(offset, &mut data);
        for (byte, n) in data.iter().zip(0..) {
            let first = usize::try_from(offset.saturating_add(n)).unwrap_or(usize::MAX);
            for bit in 0..8 {
                let vector = first.saturating_mul(8).saturating_add(bit);
                let pending = self.table.get(vector).is_some_and(|entry| entry.pending);
                assert_eq!(byte >> bit & 1 != 0, pending, "vector {vector}");
            }
        }
    }

    fn check(&mut self, op: &Op) {
        let sent = std::mem::take(&mut self.backend.machine().sent);
        assert_eq!(sent, self.expected, "{op:?}");
        assert_eq!(self.group.control(), self.control | (self.table.len() - 1) as u16);
        let mut routes = self.backend.machine().taken.clone();
        for (index, entry) in self.table.iter().enumerate() {
            let masked = entry.dwords[3] & 1 != 0 || self.control & CONTROL_FUNCTION_MASK != 0;
            assert_eq!(self.group.is_masked(index), Ok(masked));
            assert_eq!(self.group.is_pending(index), Ok(entry.pending));
            let Some(gsi) = entry.gsi else { continue };
            let route = routes.remove(&gsi).expect("taken while the group has it");
            let wanted = if self.silent(index) { None } else { entry.message() };
            assert!(route == wanted || self.stale, "the route of vector {index} is behind");
        }
        assert!(routes.is_empty(), "a GSI that no vector has");
    }
}

/// Inputs to start from.
pub fn seeds() -> Vec<(&'static str, Input)> {
    let setup = Setup { vectors: 3 };
    let program = |vector: u8, data: u32| {
        [0xfee0_1000, 0, data, 0].into_iter().zip(0..).map(move |(value, dword)| Op::Write {
            vector,
            dword,
            value,
        })
    };
    let mut masked: Vec<Op> = program(1, 0x4041).collect();
    masked.extend([
        Op::Control { value: 0xc000 },
        Op::Trigger { vector: 1 },
        Op::Trigger { vector: 1 },
        Op::ReadPba { offset: Num(0), data: Data(vec![0; 8]) },
        Op::SaveRestore,
        Op::Control { value: 0x8000 },
        Op::Mask { vector: 1 },
        Op::Trigger { vector: 1 },
        Op::Unmask { vector: 1 },
    ]);
    let mut routed: Vec<Op> = program(0, 0x51).collect();
    routed.extend([
        Op::Notifier { vector: 0 },
        Op::Enable,
        Op::Refuse { routes: true },
        Op::Notifier { vector: 2 },
        Op::Disable,
        Op::Enable,
        Op::Refuse { routes: false },
        Op::Enable,
        Op::Update { vector: 2, address: Num(0xfee0_0000), data: 0x61, masked: false },
        Op::Reset,
    ]);
    let torn = vec![
        Op::Enable,
        Op::RawWrite { offset: Num(12), data: Data([0; 16].to_vec()) },
        Op::RawWrite { offset: Num(3), data: Data(vec![0xfe, 1, 2, 3, 4, 5, 6, 7]) },
        Op::RawRead { offset: Num(1), data: Data([0; 16].to_vec()) },
        Op::Trigger { vector: 0 },
        Op::RawWrite { offset: Num(u64::MAX - 2), data: Data([0; 8].to_vec()) },
        Op::Update { vector: 0, address: Num(0x1234), data: 0, masked: false },
    ];
    let restore = vec![
        Op::Restore { vector: 2, entry: [0xfee0_0000, 0, 0x71, 1], pending: 4, control: 0x8000 },
        Op::Unmask { vector: 2 },
        Op::ClearPending { vector: 9 },
    ];
    vec![
        ("masked", Input { setup: setup.clone(), ops: masked }),
        ("routed", Input { setup: setup.clone(), ops: routed }),
        ("torn", Input { setup: setup.clone(), ops: torn }),
        ("restore", Input { setup, ops: restore }),
    ]
}
