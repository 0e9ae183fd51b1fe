// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Decoded blocks of one vCPU.
//!
//! A block is a run of instructions of one page (or a single one that crosses into the next). It is
//! found by its address, physical and linear, and by the mode; it is believed as long as its page's
//! generation stays, and after that if its bytes are still the same.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::cpu::Cpu;
use crate::decode::{self, Incomplete};
use crate::int::Data;
use crate::mem::{Member, Memory, Page, PAGE, PAGE_MASK};
use crate::mode::Mode;
use crate::op::{Op, Trap};
use crate::segment::CS;

/// No block.
const NONE: u32 = u32::MAX;
/// Instructions of a block at most.
const MAX_OPS: usize = 48;
/// How often code that changes meanwhile is looked at again at once.
const ATTEMPTS: u32 = 16;
/// Blocks, and instructions in all of them, after which all are forgotten: 100 MiB at most.
const MAX_BLOCKS: usize = 1 << 17;
pub(crate) const MAX_CACHED_OPS: usize = 1 << 20;
/// log2 of the entries of the quick lookup by linear address.
const QUICK_BITS: u32 = 14;
/// A page that no address is in.
const NO_PAGE: u64 = u64::MAX;

/// What a block depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Guest-physical address of the first byte.
    physical: u64,
    /// Offset in CS.
    rip: u64,
    mode: Mode,
    /// Base and limit of CS; 0 in 64-bit mode, where they do not count.
    cs: (u64, u32),
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Its page's offset is in `physical` too.
        state.write_u64(self.physical ^ self.rip.rotate_left(20));
    }
}

/// Hashes the one number that a [`Key`] gives. A guest that makes collisions slows itself.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
    fn write_u64(&mut self, value: u64) {
        let product = (self.0 ^ value).wrapping_mul(GOLDEN);
        self.0 = product ^ product >> 32;
    }
}

/// 2^64 by the golden ratio, odd: the upper bits of a product with it depend on all bits.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The place in the quick lookup.
#[inline(always)]
fn quick(linear: u64) -> usize {
    (linear.wrapping_mul(GOLDEN) >> (64 - QUICK_BITS)) as usize
}

/// A page of code, as a block saw it.
#[derive(Clone, Copy)]
struct Seen {
    /// The page's record; valid as long as the memory.
    page: *const Page,
    /// The page's first byte.
    host: *const u8,
    generation: u32,
}

/// A run of decoded instructions. In the first cache line is what is needed to go on with it.
#[repr(C, align(128))]
pub(crate) struct Block {
    /// At least one.
    pub ops: Box<[Op]>,
    /// Blocks that follow: at the next instruction, and at the direct target.
    links: [u32; 2],
    /// The linear address.
    linear: u64,
    /// Its page, or [`NO_PAGE`] if there is a second one: a lookup must look at that too.
    page: u64,
    seen: Seen,
    key: Key,
    /// The second page, its guest-physical address first, if the only instruction crosses into it.
    second: Option<Box<(u64, Seen)>>,
    /// What was decoded.
    bytes: Box<[u8]>,
}

// SAFETY: the pointers are to the memory's pages and their records, which any thread may read;
// `BlockCache` lives no longer than the memory, of which its vCPU holds an `Arc`.
unsafe impl Send for Block {}

/// All blocks of a vCPU.
pub(crate) struct BlockCache {
    pub blocks: Vec<Block>,
    /// Instructions in all of them.
    ops: usize,
    index: HashMap<Key, u32, BuildHasherDefault<Mix>>,
    quick: Box<[u32; 1 << QUICK_BITS]>,
    /// Changes whenever an id stops to mean the block that it meant.
    epoch: u64,
}

impl Default for BlockCache {
    fn default() -> Self {
        BlockCache {
            blocks: Vec::new(),
            ops: 0,
            index: HashMap::default(),
            quick: Box::new([NONE; 1 << QUICK_BITS]),
            epoch: 0,
        }
    }
}

impl BlockCache {
    /// A block that [`BlockCache::find`] and its like gave, before they are called again.
    #[inline(always)]
    pub fn block(&self, id: u32) -> &Block {
        &self.blocks[id as usize]
    }

    /// The block at `cpu.rip`.
    ///
    /// # Errors
    /// What fetching its first instruction raises.
    pub fn find(&mut self, cpu: &mut Cpu, member: &Member) -> Result<u32, Trap> {
        let code64 = cpu.mode.code64();
        let segment = *cpu.segment(CS);
        let cs = if code64 { (0, 0) } else { (segment.base, segment.limit) };
        let linear = match code64 {
            true => cpu.rip,
            false => segment.base.wrapping_add(cpu.rip) & 0xffff_ffff,
        };
        if !code64 && cpu.rip > segment.limit.into() {
            return Err(cpu.gp());
        }
        let (host, page) = cpu.fetch_page(linear)?;
        let physical = page | linear % PAGE;
        let key = Key { physical, rip: cpu.rip, mode: cpu.mode, cs };
        let quick = quick(linear);
        let known = self.quick[quick];
        if self.blocks.get(known as usize).is_some_and(|block| block.key == key) {
            return self.believed(cpu, member, known, host);
        }
        if let Some(known) = self.index.get(&key).copied() {
            self.quick[quick] = known;
            return self.believed(cpu, member, known, host);
        }
        let block = build(cpu, member, key, linear, host)?;
        let id = self.insert(None, block);
        self.quick[quick] = id;
        Ok(id)
    }

    /// Adds a block, or replaces the known one that has its key; forgets all others if they become
    /// too many.
    fn insert(&mut self, known: Option<u32>, block: Block) -> u32 {
        let before = known.map_or(0, |id| self.blocks[id as usize].ops.len());
        let ops = self.ops - before + block.ops.len();
        if ops > MAX_CACHED_OPS || known.is_none() && self.blocks.len() >= MAX_BLOCKS {
            *self = BlockCache { epoch: self.epoch + 1, ..BlockCache::default() };
            return self.insert(None, block);
        }
        self.ops = ops;
        match known {
            Some(id) => {
                // A link that is about to be set in it belongs to what it was.
                self.epoch += 1;
                self.blocks[id as usize] = block;
                id
            }
            None => {
                let id = self.blocks.len() as u32;
                self.index.insert(block.key, id);
                self.blocks.push(block);
                id
            }
        }
    }

    /// A block found by its key; decoded again if its bytes changed.
    fn believed(
        &mut self,
        cpu: &mut Cpu,
        member: &Member,
        id: u32,
        host: Option<*mut u8>,
    ) -> Result<u32, Trap> {
        let block = &mut self.blocks[id as usize];
        // An instruction that does not begin as it did may have no need of the second page.
        if block.first_holds(cpu, member) && block.second_holds(cpu, member)? {
            return Ok(id);
        }
        let (key, linear) = (block.key, block.linear);
        let block = build(cpu, member, key, linear, host)?;
        Ok(self.insert(Some(id), block))
    }

    /// The block at `cpu.rip`, which the block `from` leaves to on its `way`: the next time
    /// [`BlockCache::follow`] knows.
    ///
    /// # Errors
    /// As for [`BlockCache::find`].
    pub fn find_and_link(
        &mut self,
        cpu: &mut Cpu,
        member: &Member,
        from: u32,
        way: usize,
    ) -> Result<u32, Trap> {
        let epoch = self.epoch;
        let found = self.find(cpu, member)?;
        if self.epoch == epoch {
            self.blocks[from as usize].links[way & 1] = found;
        }
        Ok(found)
    }

    /// Follows a link from a block that just ran; `None` if it takes a lookup.
    #[inline(always)]
    pub fn follow(&self, cpu: &Cpu, from: &Block, way: usize) -> Option<(u32, &Block)> {
        let to = from.links[way & 1];
        let next = self.blocks.get(to as usize)?;
        next.is_as_seen(cpu).then_some((to, next))
    }

    /// The block at `cpu.rip`, if that is 64-bit code and quickly found.
    #[inline(always)]
    pub fn find_quickly(&self, cpu: &Cpu) -> Option<(u32, &Block)> {
        let known = self.quick[quick(cpu.rip)];
        let block = self.blocks.get(known as usize)?;
        let is_it = block.linear == cpu.rip
            && block.key.mode == cpu.mode
            && cpu.mode.code64()
            && block.is_as_seen(cpu);
        is_it.then_some((known, block))
    }
}

impl Block {
    /// Whether it is mapped where it was, for code in the mode in force, and fresh. `false` is not
    /// sure.
    #[inline(always)]
    fn is_as_seen(&self, cpu: &Cpu) -> bool {
        let entry = cpu.tlb.entry(self.linear);
        // Each page of memory has a host address of its own.
        entry.fetch == self.page
            && entry.addend.wrapping_add(self.page as usize) == self.seen.host as usize
            && self.seen.is_fresh()
    }

    /// Whether the first page has what was decoded there: then the block is good for the
    /// generation now.
    fn first_holds(&mut self, cpu: &mut Cpu, member: &Member) -> bool {
        if self.seen.is_fresh() {
            return true;
        }
        let start = (self.linear % PAGE) as usize;
        let first = &self.bytes[..self.bytes.len().min(PAGE as usize - start)];
        let seen = claim(cpu, member, self.key.physical, first.len(), self.seen.host);
        self.seen.renew(seen, start, first)
    }

    /// The same for the second page, if there is one, which also has to be the one that it was.
    fn second_holds(&mut self, cpu: &mut Cpu, member: &Member) -> Result<bool, Trap> {
        let Some(second) = &mut self.second else { return Ok(true) };
        let (_, page) = cpu.fetch_page(next_page(cpu, self.linear))?;
        if page != second.0 {
            return Ok(false);
        }
        if second.1.is_fresh() {
            return Ok(true);
        }
        let start = (self.linear % PAGE) as usize;
        let rest = self.bytes.get(PAGE as usize - start..).unwrap_or_default();
        let seen = claim(cpu, member, page, rest.len(), second.1.host);
        Ok(second.1.renew(seen, 0, rest))
    }
}

impl Seen {
    #[inline(always)]
    fn now(&self) -> u32 {
        // SAFETY: the record lives as long as the memory, see `Block`.
        unsafe { (*self.page).generation() }
    }

    #[inline(always)]
    fn is_fresh(&self) -> bool {
        self.now() == self.generation
    }

    /// Becomes `now`, a later claim, if the page still has `bytes` at `offset`. Otherwise the block
    /// stays out of date, whether or not another one can be built.
    fn renew(&mut self, now: Seen, offset: usize, bytes: &[u8]) -> bool {
        let holds = now.holds(offset, bytes);
        if holds {
            *self = now;
        }
        holds
    }

    /// Whether the page still has `bytes` at `offset`.
    fn holds(&self, offset: usize, bytes: &[u8]) -> bool {
        // SAFETY: `bytes` were read from here, within the page.
        (0..bytes.len()).all(|n| unsafe { u8::load(self.host.add(offset + n)) } == bytes[n])
    }
}

fn next_page(cpu: &Cpu, linear: u64) -> u64 {
    let next = (linear & PAGE_MASK).wrapping_add(PAGE);
    match cpu.mode.code64() {
        true => next,
        false => next & 0xffff_ffff,
    }
}

/// Decodes a block.
fn build(
    cpu: &mut Cpu,
    member: &Member,
    key: Key,
    linear: u64,
    host: Option<*mut u8>,
) -> Result<Block, Trap> {
    // Code outside of memory: nothing answers the fetch.
    let Some(host) = host else { return Err(cpu.stop(crate::cpu::Cause::NoCode)) };
    let offset = (linear % PAGE) as usize;
    // What CS's limit leaves; the bytes above it are not fetched.
    let allowed = match key.mode.code64() {
        true => u64::MAX,
        false => (u64::from(key.cs.1) + 1).saturating_sub(key.rip),
    };
    let in_page = (PAGE as usize - offset).min(allowed.try_into().unwrap_or(usize::MAX));
    let wanted = in_page.min(MAX_OPS * 15);
    // They may change until they are claimed.
    for _ in 0..ATTEMPTS {
        let mut bytes = read(host, offset, wanted);
        let (ops, used) = decode_run(&bytes, key, wanted == in_page);
        if ops.is_empty() {
            break;
        }
        bytes.truncate(used);
        let seen = claim(cpu, member, key.physical, used, host);
        if seen.holds(offset, &bytes) {
            return Ok(Block {
                ops: ops.into(),
                links: [NONE; 2],
                linear,
                page: linear & PAGE_MASK,
                seen,
                key,
                second: None,
                bytes: bytes.into(),
            });
        }
    }
    if in_page as u64 == allowed {
        return Err(cpu.gp());
    }
    build_crossing(cpu, member, key, linear, host, allowed)
}

/// A single instruction that goes on in the next page.
fn build_crossing(
    cpu: &mut Cpu,
    member: &Member,
    key: Key,
    linear: u64,
    first_host: *mut u8,
    allowed: u64,
) -> Result<Block, Trap> {
    let (host, page) = cpu.fetch_page(next_page(cpu, linear))?;
    let Some(host) = host else { return Err(cpu.stop(crate::cpu::Cause::NoCode)) };
    let offset = (linear % PAGE) as usize;
    let in_page = PAGE as usize - offset;
    let seen = claim(cpu, member, key.physical, in_page, first_host);
    let most = decode::MAX_LENGTH.min(usize::try_from(allowed).unwrap_or(usize::MAX));
    let more = most.saturating_sub(in_page);
    let second = claim(cpu, member, page, more, host);
    let mut bytes = read(first_host, offset, in_page);
    bytes.extend(read(host, 0, more));
    let Ok(decoded) = decode::decode(&bytes, key.rip, key.mode) else { return Err(cpu.gp()) };
    bytes.truncate(usize::from(decoded.op.len).max(in_page));
    Ok(Block {
        ops: [decoded.op].into(),
        links: [NONE; 2],
        linear,
        page: NO_PAGE,
        seen,
        key,
        second: Some(Box::new((page, second))),
        bytes: bytes.into(),
    })
}

/// As many instructions as make a block, and the bytes they have.
fn decode_run(bytes: &[u8], key: Key, to_the_end: bool) -> (Vec<Op>, usize) {
    let mut ops: Vec<Op> = Vec::new();
    let mut used = 0;
    let mut joins = None;
    while ops.len() < MAX_OPS && used < bytes.len() {
        if !to_the_end && bytes.len() - used < 15 {
            break;
        }
        let rip = key.rip.wrapping_add(used as u64);
        let decoded = match decode::decode(&bytes[used..], rip, key.mode) {
            Ok(decoded) => decoded,
            Err(Incomplete::NoMoreBytes) => break,
        };
        if decoded.alone && !ops.is_empty() {
            break;
        }
        used += usize::from(decoded.op.len);
        if let Some(last) = ops.last_mut() {
            decoded.join(last, joins);
        }
        joins = decoded.joins();
        ops.push(decoded.op);
        if decoded.ends {
            break;
        }
    }
    (ops, used)
}

fn read(host: *const u8, offset: usize, len: usize) -> Vec<u8> {
    // SAFETY: `offset + len` is within the page at `host`.
    (offset..offset + len).map(|n| unsafe { u8::load(host.add(n)) }).collect()
}

/// Makes every write to these bytes visible in the page's generation, then takes that down.
fn claim(cpu: &mut Cpu, member: &Member, physical: u64, len: usize, host: *const u8) -> Seen {
    let memory = cpu.memory.clone();
    let Some((_, page)) = memory.page(physical) else {
        // `host` came from the same lookup.
        let page: &Page = &NOWHERE;
        return Seen { page, generation: 0, host };
    };
    let mut generation = page.generation();
    for _ in 0..ATTEMPTS {
        page.mark_code(physical, len as u64);
        // The marks have to be there from before the writers are told until nobody is left.
        let Some(writers) = page.writers().filter(|_| page.is_marked(physical, len as u64)) else {
            crate::sync::yield_now();
            continue;
        };
        forget_writers(cpu, member, &memory, writers.vcpus());
        generation = page.generation();
        if page.remove_writers(writers) {
            return Seen { page, generation, host };
        }
    }
    // Never fresh.
    Seen { page, generation: generation.wrapping_sub(1), host }
}

/// Makes all vCPUs forget their unseen ways to write to pages with code.
fn forget_writers(cpu: &mut Cpu, member: &Member, memory: &Memory, writers: u32) {
    if writers == 0 {
        return;
    }
    cpu.tlb.forget_writes_to_code(memory);
    memory.forget_writes(writers, cpu.member_index, || {
        member.attend(|| cpu.tlb.forget_writes_to_code(memory));
    });
}

#[cfg(not(loom))]
static NOWHERE: Page = Page::new();
#[cfg(loom)]
loom::lazy_static! {
    static ref NOWHERE: Page = Page::default();
}

#[cfg(all(test, loom))]
mod loom_tests;
