//! What can be saved of a text that is torn.
//!
//! The original application truncates a database and writes it anew, so a full disk, a kill or a
//! power cut leaves a part of it, zeros, or the end of an older text behind a newer one. The text
//! is read in order up to the first damage. From there on it is looked at line by line, in one
//! pass: a line break is never inside a text of JSON, and the blanks at its beginning say how deep
//! it is. A text without lines is saved up to the first damage.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::json::{Member, Node, Reader};

/// How many blanks are before a member of the root, as JavaScript writes it.
const MEMBER_COLUMN: usize = 2;
/// How many are before an entry.
const ENTRY_COLUMN: usize = 4;

/// What a torn text had that was not saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// How many bytes of it, blanks included.
    pub bytes: usize,
    /// Where it is first damaged: `instances.actmcp`, `repositories[3]`, `its beginning`, ….
    pub at: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, damaged at {}", self.bytes, self.at)
    }
}

/// What a database looks like.
pub(super) struct Shape {
    /// The key with the entries.
    pub(super) collection: &'static str,
    /// They are in a list, not in an object.
    pub(super) list: bool,
    /// Keys that are not believed behind the first damage.
    pub(super) made_anew: &'static [&'static str],
    /// Says whether a value has all that an entry has.
    pub(super) whole: fn(&Node) -> bool,
}

/// Reads what is whole: the members of the root object.
pub(super) fn salvage(bytes: &[u8], shape: &Shape) -> (Vec<Member>, Lost) {
    let mut ordered = Ordered { shape, reader: Reader::new(bytes), saved: Saved::default() };
    let damage = ordered.root();
    let (mut saved, reader) = (ordered.saved, ordered.reader);
    let mut lost = bytes.len() - damage.from.min(bytes.len());
    if damage.beyond {
        let blanks = |byte: &u8| byte.is_ascii_whitespace();
        if reader.rest().iter().all(blanks) {
            lost = 0;
        }
    } else {
        let mut lines = Lines::new(bytes, shape, &mut saved, damage.inside);
        lines.read(damage.from);
        lost -= lines.taken.min(lost);
    }
    (saved.into_members(shape), Lost { bytes: lost, at: damage.at })
}

/// What was saved so far.
#[derive(Default)]
struct Saved {
    members: Vec<Member>,
    /// The entries, and where among the members they belong.
    entries: Option<(usize, Entries)>,
}

#[derive(Default)]
struct Entries {
    /// Names are empty in a list.
    all: Vec<Member>,
    ids: BTreeSet<String>,
}

impl Entries {
    /// Says whether there is such an entry already: the first is the newer one.
    fn has(&self, entry: &Member) -> bool {
        id(entry).is_some_and(|id| self.ids.contains(&id))
    }

    fn push(&mut self, entry: Member) {
        self.ids.extend(id(&entry));
        self.all.push(entry);
    }
}

fn id(entry: &Member) -> Option<String> {
    if entry.name.is_empty() { entry.value.get("id")?.text() } else { entry.meant() }
}

impl Saved {
    fn entries(&mut self) -> &mut Entries {
        let place = self.members.len();
        &mut self.entries.get_or_insert_with(|| (place, Entries::default())).1
    }

    fn into_members(self, shape: &Shape) -> Vec<Member> {
        let Self { mut members, entries } = self;
        if let Some((place, Entries { all, .. })) = entries {
            let value = if shape.list {
                Node::List(all.into_iter().map(|entry| entry.value).collect())
            } else {
                Node::Object(all)
            };
            members.insert(place, Member::new(shape.collection, value));
        }
        members
    }
}

/// Where reading in order came to its end.
struct Damage {
    /// The first byte that was not saved.
    from: usize,
    at: String,
    /// It is among the entries.
    inside: bool,
    /// The text ended before; the rest is an older one's.
    beyond: bool,
}

/// Reads in order.
struct Ordered<'t> {
    shape: &'t Shape,
    reader: Reader<'t>,
    saved: Saved,
}

impl Ordered<'_> {
    fn root(&mut self) -> Damage {
        let damage = |from, at: &str| Damage { from, at: at.into(), inside: false, beyond: false };
        if !self.reader.take(b'{') {
            // The entries are most of a text, so it may be among them that it begins.
            return Damage { inside: true, ..damage(0, "its beginning") };
        }
        if self.reader.take(b'}') {
            return self.end();
        }
        loop {
            self.reader.blanks();
            let from = self.reader.at;
            let Some(name) = self.reader.name() else { return damage(from, "a key") };
            let mut member = Member { name, value: Node::Object(Vec::new()) };
            let open = if self.shape.list { b'[' } else { b'{' };
            if member.is(self.shape.collection) && self.reader.peek() == Some(open) {
                // Of equal keys the last counts.
                self.saved.entries = None;
                if let Err((from, at)) = self.entries() {
                    return Damage { from, at, inside: true, beyond: false };
                }
            } else {
                let Some(value) = self.reader.node() else {
                    return damage(from, &member.meant().unwrap_or(member.name));
                };
                member.value = value;
                self.saved.members.push(member);
            }
            if self.reader.take(b'}') {
                return self.end();
            }
            let from = self.reader.at;
            if !self.reader.take(b',') {
                return damage(from, "a key");
            }
        }
    }

    /// Judges the brace that closed the root. One that is indented closed something else, once.
    fn end(&self) -> Damage {
        let from = self.reader.at;
        let last = self.reader.rest().trim_ascii().is_empty();
        let indented = !last && self.reader.column(from - 1).is_some_and(|column| column > 0);
        Damage { from, at: "its end".into(), inside: indented, beyond: !indented }
    }

    /// Reads the entries; where they break off, says from which byte on and where that is.
    fn entries(&mut self) -> Result<(), (usize, String)> {
        let Shape { collection, list, .. } = *self.shape;
        let (open, close) = if list { (b'[', b']') } else { (b'{', b'}') };
        self.saved.entries();
        self.reader.take(open);
        if self.reader.take(close) {
            return Ok(());
        }
        let mut styled = false;
        for index in 0.. {
            self.reader.blanks();
            let from = self.reader.at;
            let column = self.reader.column(from);
            if index == 0 {
                styled = column == Some(ENTRY_COLUMN);
            }
            let name = if list { Some(String::new()) } else { self.reader.name() };
            let Some(name) = name else { return Err((from, collection.into())) };
            let mut entry = Member { name, value: Node::Object(Vec::new()) };
            let at = match entry.meant() {
                Some(id) => format!("{collection}.{id}"),
                None => format!("{collection}[{index}]"),
            };
            let Some(value) = self.reader.node() else { return Err((from, at)) };
            entry.value = value;
            // Where two texts meet inside an entry, it may end at a brace of something else, and
            // what is then read as an entry is none.
            let ends = self.reader.column(self.reader.at - 1);
            let fits = column == Some(ENTRY_COLUMN)
                && (ends == Some(ENTRY_COLUMN) || self.reader.is_one_line(from));
            // And what is no object is believed only where the text goes on as it should.
            let goes_on = |next| next == b',' || next == close;
            let object = entry.value.members().is_some();
            if styled && !fits || !object && !self.reader.peek().is_some_and(goes_on) {
                return Err((from, at));
            }
            self.saved.entries().push(entry);
            let from = self.reader.at;
            if self.reader.take(close) {
                let closes = self.reader.column(self.reader.at - 1);
                if styled && closes != Some(MEMBER_COLUMN) {
                    return Err((from, collection.into()));
                }
                break;
            }
            if !self.reader.take(b',') {
                return Err((from, collection.into()));
            }
        }
        Ok(())
    }
}

/// Reads line by line.
struct Lines<'t, 's> {
    bytes: &'t [u8],
    shape: &'t Shape,
    saved: &'s mut Saved,
    /// The lines are among the entries.
    inside: bool,
    /// Where a member of the root or an entry begins that is not at its end yet.
    open: Option<usize>,
    /// The names of the members that were saved: the first is the newer one.
    known: BTreeSet<Option<String>>,
    /// How many bytes were saved.
    taken: usize,
}

impl<'t, 's> Lines<'t, 's> {
    fn new(bytes: &'t [u8], shape: &'t Shape, saved: &'s mut Saved, inside: bool) -> Self {
        let known = saved.members.iter().map(Member::meant).collect();
        Self { bytes, shape, saved, inside, open: None, known, taken: 0 }
    }

    /// Reads from the first line that begins behind a byte.
    fn read(&mut self, from: usize) {
        let rest = self.bytes.get(from..).unwrap_or_default();
        let mut lines = rest.split(|byte| *byte == b'\n').peekable();
        let mut at = from;
        let mut depth_before = if self.inside { ENTRY_COLUMN } else { 0 };
        // The first one is the damaged one, unless the text is damaged from its beginning.
        if from > 0 {
            at += lines.next().map_or(0, <[u8]>::len) + 1;
        }
        while let Some(line) = lines.next() {
            let (begin, ends) = (at, at + line.len());
            at = ends + 1;
            let (depth, first) = begins(line);
            // Where two texts meet in one line it may look as if it were of the root. Then what
            // comes before or behind it is not.
            let (depth_behind, _) = begins(lines.peek().copied().unwrap_or_default());
            let left = !self.inside || depth_before <= MEMBER_COLUMN;
            let leaves = !self.inside || depth_behind <= MEMBER_COLUMN;
            match (depth, first) {
                (0, Some(b'}')) => return,
                (MEMBER_COLUMN, Some(b'"')) if left => self.member(begin, ends),
                (MEMBER_COLUMN, Some(b'}' | b']')) if leaves => self.end_of_member(ends),
                (ENTRY_COLUMN, Some(b'"')) if self.inside && !self.shape.list => {
                    self.entry(begin, ends);
                }
                (ENTRY_COLUMN, Some(b'{')) if self.inside && self.shape.list => {
                    self.entry(begin, ends);
                }
                (ENTRY_COLUMN, Some(b'}')) if self.inside => self.end_of_entry(ends),
                _ => {}
            }
            depth_before = depth;
        }
    }

    fn member(&mut self, begin: usize, ends: usize) {
        let mut reader = self.reader(begin, ends);
        let Some(name) = reader.name() else { return };
        (self.inside, self.open) = (false, None);
        let name = Member { name, value: Node::List(Vec::new()) };
        if name.is(self.shape.collection) {
            self.inside = reader.take(if self.shape.list { b'[' } else { b'{' });
            // Its place is here, unless it was met before.
            self.saved.entries();
        } else if !self.take_member(begin, ends) {
            self.open = Some(begin);
        }
    }

    fn end_of_member(&mut self, ends: usize) {
        let begin = self.open.take();
        // What is open among the entries is an entry, and is not at its end.
        if !core::mem::take(&mut self.inside)
            && let Some(begin) = begin
        {
            self.take_member(begin, ends);
        }
    }

    fn take_member(&mut self, begin: usize, ends: usize) -> bool {
        let mut reader = self.reader(begin, ends);
        let Some(name) = reader.name() else { return false };
        let Some(value) = reader.node() else { return false };
        let member = Member { name, value };
        let anew = self.shape.made_anew.iter().any(|name| member.is(name));
        if at_its_end(reader) && !anew && self.known.insert(member.meant()) {
            self.saved.members.push(member);
            self.taken += ends - begin;
        }
        true
    }

    fn entry(&mut self, begin: usize, ends: usize) {
        self.open = if self.take_entry(begin, ends) { None } else { Some(begin) };
    }

    fn end_of_entry(&mut self, ends: usize) {
        if let Some(begin) = self.open.take() {
            self.take_entry(begin, ends);
        }
    }

    fn take_entry(&mut self, begin: usize, ends: usize) -> bool {
        let mut reader = self.reader(begin, ends);
        let name = if self.shape.list { Some(String::new()) } else { reader.name() };
        let Some(name) = name else { return false };
        let Some(value) = reader.node() else { return false };
        let entry = Member { name, value };
        let entries = self.saved.entries();
        if at_its_end(reader) && (self.shape.whole)(&entry.value) && !entries.has(&entry) {
            entries.push(entry);
            self.taken += ends - begin;
        }
        true
    }

    fn reader(&self, begin: usize, ends: usize) -> Reader<'t> {
        // With the line break, where there is one: it ends a number.
        let ends = self.bytes.len().min(ends + 1);
        Reader::new(self.bytes.get(begin..ends).unwrap_or_default())
    }
}

/// Returns how many blanks a line begins with, and what comes then.
fn begins(line: &[u8]) -> (usize, Option<u8>) {
    let depth = line.iter().take_while(|byte| **byte == b' ').count();
    (depth, line.get(depth).copied())
}

/// Says whether nothing comes any more but a comma.
fn at_its_end(mut reader: Reader<'_>) -> bool {
    reader.take(b',');
    reader.peek().is_none()
}

#[cfg(test)]
mod tests;
