//! Reading the pages of a file that the database refuses, with nothing in it believed: each number
//! is looked at before it is used, each page is visited once, and keys have to come in their order.
//!
//! The file format of redb, version 3: a header of 64 octets, two slots of 128 for the last commits,
//! and regions of pages. Pages are leaves with pairs or branches with children; a tree of tables has
//! the root of each table. What a branch does not reach is not found: it is old, or free.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// What is looked through.
pub(super) trait Octets {
    /// Reads all of `out`, or says that it is not there.
    fn read(&self, at: u64, out: &mut [u8]) -> bool;
}

impl Octets for File {
    fn read(&self, at: u64, out: &mut [u8]) -> bool {
        self.read_exact_at(out, at).is_ok()
    }
}

const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
/// Where the slots of commits are, and the octets of one.
const SLOTS: [usize; 2] = [64, 192];
const SLOT: usize = 128;
const PAGE: u32 = 4096;
/// A page is no larger than that, octets, and no deeper than that in a tree.
const PAGE_MAX: u64 = 4 << 30;
const DEPTH_MAX: usize = 64;

/// A page that cannot be read, and what was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Where it begins in the file.
    pub offset: u64,
    /// What was found.
    pub why: &'static str,
}

/// What was found besides the records.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Walk {
    /// Records that there should be.
    pub(super) told: u64,
    pub(super) gaps: Vec<Gap>,
}

/// How pages lie in the file.
struct Layout {
    region: u64,
    header: u64,
}

fn array<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..)?.first_chunk().copied()
}

fn number32(octets: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(array(octets, at)?)).ok()
}

fn number64(octets: &[u8], at: usize) -> Option<u64> {
    array(octets, at).map(u64::from_le_bytes)
}

impl Layout {
    fn of(header: &[u8]) -> Result<Self, &'static str> {
        let bad = "the first page is damaged";
        if !header.starts_with(MAGIC) {
            return Err("it is no file of the database");
        }
        let pages =
            |at| number32(header, at).and_then(|pages| u64::try_from(pages).ok()).ok_or(bad);
        if pages(12)? != u64::from(PAGE) {
            return Err(bad);
        }
        let (before, most) = (pages(16)?, pages(20)?);
        let page = u64::from(PAGE);
        Ok(Self { region: (before + most) * page, header: before * page })
    }

    /// Where a page is, and how long.
    fn place(&self, page: u64) -> (u64, u64) {
        let order = page >> 59;
        let index = page & (0xf_ffff >> order);
        let region = page >> 20 & 0xf_ffff;
        let len = u64::from(PAGE).checked_shl(u32::try_from(order).unwrap_or(0)).unwrap_or(0);
        let inside = index.saturating_mul(len).saturating_add(self.header);
        let regions = region.saturating_mul(self.region).saturating_add(u64::from(PAGE));
        (regions.saturating_add(inside), len)
    }
}

/// A page, taken apart.
enum Page {
    Leaf(Vec<(Vec<u8>, Vec<u8>)>),
    Branch(Vec<u64>),
}

impl Page {
    fn read(octets: &[u8]) -> Option<Self> {
        let count = usize::from(u16::from_le_bytes(array(octets, 2)?));
        match octets.first()? {
            1 => Self::leaf(octets, count),
            2 => {
                let from = 8 + 16 * (count + 1);
                let child = |n| number64(octets, from + 8 * n);
                (0..=count).map(child).collect::<Option<_>>().map(Self::Branch)
            }
            _ => None,
        }
    }

    /// Pairs of keys and values of any length.
    fn leaf(octets: &[u8], count: usize) -> Option<Self> {
        let end = |n: usize| number32(octets, 4 + 4 * n);
        let (mut key, mut pairs) = (4 + 8 * count, Vec::new());
        let mut value = end(count.checked_sub(1)?)?;
        for n in 0..count {
            let (key_end, value_end) = (end(n)?, end(count + n)?);
            let pair = (octets.get(key..key_end)?.to_vec(), octets.get(value..value_end)?.to_vec());
            pairs.push(pair);
            (key, value) = (key_end, value_end);
        }
        Some(Self::Leaf(pairs))
    }
}

/// A tree that is gone through.
struct Tree<'a> {
    file: &'a dyn Octets,
    layout: &'a Layout,
    seen: BTreeSet<u64>,
    last: Option<Vec<u8>>,
    gaps: Vec<Gap>,
}

impl Tree<'_> {
    fn walk(&mut self, root: u64, each: &mut dyn FnMut(&[u8], &[u8])) {
        let mut open = vec![(root, 0)];
        while let Some((page, depth)) = open.pop() {
            let (offset, _) = self.layout.place(page);
            match self.page(page, depth) {
                Ok(Page::Branch(children)) => {
                    open.extend(children.into_iter().rev().map(|child| (child, depth + 1)));
                }
                Ok(Page::Leaf(pairs)) => {
                    // An old page in the place of another one has other keys.
                    let keys = self.last.iter().chain(pairs.iter().map(|(key, _)| key));
                    if !keys.is_sorted_by(|one, next| one < next) {
                        self.gaps.push(Gap { offset, why: "its keys are not in their order" });
                        continue;
                    }
                    for (key, value) in &pairs {
                        each(key, value);
                    }
                    self.last = pairs
                        .into_iter()
                        .next_back()
                        .map(|(key, _)| key)
                        .or_else(|| self.last.take());
                }
                Err(why) => self.gaps.push(Gap { offset, why }),
            }
        }
    }

    fn page(&mut self, page: u64, depth: usize) -> Result<Page, &'static str> {
        let (offset, len) = self.layout.place(page);
        if depth > DEPTH_MAX || !self.seen.insert(page) {
            return Err("it is its own ancestor, or has two");
        }
        if len > PAGE_MAX {
            return Err("there is no page of that size");
        }
        // The last octet first: memory is taken only for what is there.
        let end = offset.saturating_add(len);
        if !self.file.read(end.saturating_sub(1), &mut [0]) {
            return Err("it is behind the end of the file");
        }
        let mut octets = vec![0; usize::try_from(len).map_err(|_| "it is too large")?];
        if !self.file.read(offset, &mut octets) {
            return Err("it cannot be read");
        }
        Page::read(&octets).ok_or("it is no page of a tree")
    }
}

/// The root of the table, and its pairs, in what is kept of it in the tree of tables.
fn table_in(definition: &[u8]) -> Option<(Option<u64>, u64)> {
    let (told, is_there) = (number64(definition, 1)?, *definition.get(9)? != 0);
    let root = number64(definition, 10)?;
    Some((is_there.then_some(root), told))
}

fn tree<'a>(file: &'a dyn Octets, layout: &'a Layout) -> Tree<'a> {
    Tree { file, layout, seen: BTreeSet::new(), last: None, gaps: Vec::new() }
}

/// Goes through the table as a commit has left it.
fn commit(
    file: &dyn Octets,
    layout: &Layout,
    slot: &[u8],
    name: &[u8],
    each: &mut dyn FnMut(&[u8], &[u8]),
) -> Result<Walk, &'static str> {
    let is_there = slot.get(1).is_some_and(|there| *there != 0);
    let root = number64(slot, 8).filter(|_| is_there).ok_or("nothing was ever stored")?;
    let (mut tables, mut found) = (tree(file, layout), None);
    tables.walk(root, &mut |key, definition| {
        if key == name {
            found = table_in(definition);
        }
    });
    let (root, told) = found.ok_or("the table of tables is damaged")?;
    let mut records = tree(file, layout);
    if let Some(root) = root {
        records.walk(root, each);
    }
    Ok(Walk { told, gaps: records.gaps })
}

/// Goes through the records of a table in the order of their keys, as far as they can be reached:
/// as the last commit has left them, or the one before it if that had not come to its end.
pub(super) fn walk(
    file: &dyn Octets,
    name: &[u8],
    each: &mut dyn FnMut(&[u8], &[u8]),
) -> Result<Walk, &'static str> {
    let mut header = [0; SLOTS[1] + SLOT];
    if !file.read(0, &mut header) {
        return Err("the first page is not there");
    }
    let layout = Layout::of(&header)?;
    let flags = header[9];
    let [first, second] = SLOTS.map(|at| header.get(at..at + SLOT).unwrap_or_default());
    let slots = if flags & 1 == 0 { [first, second] } else { [second, first] };
    let gaps = slots.map(|slot| {
        let walked = commit(file, &layout, slot, name, &mut |_, _| {});
        walked.map_or(usize::MAX, |walk| walk.gaps.len())
    });
    // After a clean end all of the last commit was on the disk. `2`: there was none.
    let is_older = gaps[0] == usize::MAX || flags & 2 != 0 && gaps[1] < gaps[0];
    let [last, before] = slots;
    commit(file, &layout, if is_older { before } else { last }, name, each)
}
