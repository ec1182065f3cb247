//! Packs: any bytes, and such as hold together so far that their objects are looked into.
#![no_main]

use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};
use jeton_git::{
    history::{Ancestry, Edges, Lineage, Measure, Step},
    name::ObjectId,
    pack::{Kind, Objects, Scanner},
};
use libfuzzer_sys::fuzz_target;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

const MOST: u64 = 1024 * 1024;

fn read(pieces: &[&[u8]]) -> Option<Objects> {
    let mut scanner = Scanner::new(MOST, true);
    for piece in pieces {
        scanner.feed(piece).ok()?;
    }
    scanner.finish().ok()
}

/// A pack whose frame is right, with kinds, sizes, deltas and contents as the bytes say. Gives it with the
/// names of its whole objects.
fn framed(mut bytes: &[u8]) -> (Vec<u8>, Vec<ObjectId>) {
    let (mut entries, mut names, mut starts) = (Vec::new(), vec![], vec![]);
    let mut count = 0_u32;
    while let [head, length, rest @ ..] = bytes {
        let length = usize::from(*length).min(rest.len());
        let (content, rest) = rest.split_at(length);
        bytes = rest;
        let kind = match head % 6 {
            0 => 1,
            1 => 2,
            2 => 3,
            3 => 4,
            4 => 6,
            _ => 7,
        };
        starts.push(entries.len());
        // A size that is a lie now and then.
        let size = if head & 0x80 != 0 { content.len() + 1 } else { content.len() };
        let low = u8::try_from(size & 0xf).unwrap_or_default();
        match u8::try_from(size >> 4).unwrap_or(0x7f) {
            0 => entries.push(kind << 4 | low),
            more => entries.extend([0x80 | kind << 4 | low, more & 0x7f]),
        }
        match kind {
            6 => {
                // Back to one that came before, or to nowhere.
                let target = starts.get(usize::from(*head >> 3) % starts.len());
                let back = entries.len() - 1 - target.copied().unwrap_or_default();
                entries.push(u8::try_from(back & 0x7f).unwrap_or_default());
            }
            7 => {
                let id = names.get(usize::from(*head >> 3) % names.len().max(1)).copied();
                entries.extend(id.unwrap_or(ObjectId::NONE).0);
            }
            _ => {
                let word = ["commit", "tree", "blob", "tag"][usize::from(kind) - 1];
                let whole = [format!("{word} {}\0", content.len()).as_bytes(), content].concat();
                let name = digest(&SHA1_FOR_LEGACY_USE_ONLY, &whole);
                names.push(ObjectId(name.as_ref().try_into().expect("20 bytes")));
            }
        }
        let mut packed = ZlibEncoder::new(&mut entries, Compression::none());
        packed.write_all(content).expect("memory");
        packed.finish().expect("memory");
        count += 1;
    }
    let mut pack = [b"PACK\0\0\0\x02".as_slice(), &count.to_be_bytes(), &entries].concat();
    let end = digest(&SHA1_FOR_LEGACY_USE_ONLY, &pack);
    pack.extend_from_slice(end.as_ref());
    (pack, names)
}

/// Looks at everything of it, as one who decides would.
fn look(objects: &Objects, names: &[ObjectId]) {
    for name in names {
        let peeled = objects.peeled(*name);
        assert!(!objects.is_no_commit(peeled) || objects.get(peeled).is_some());
        assert_ne!(objects.ancestry(*name, ObjectId::NONE), Ancestry::Yes);
        if let Ok((commits, edge)) = objects.brought(&[*name]) {
            assert!(
                edge.iter().all(|id| objects.get(*id).is_none_or(|(kind, _)| kind != Kind::Commit))
            );
            let edges = Edges::of(&commits, &edge).expect("few edges");
            let step = Lineage::default().step(&edges, &commits, objects);
            if let Ok(Step::Ask { pivot, want }) = step {
                assert!(edge.contains(&pivot) && want.is_subset(&edge) && !want.contains(&pivot));
            }
            for commit in &commits {
                if let Ok(changes) = objects.changes(commit, &Measure::of_parents(commit)) {
                    for path in changes.keys() {
                        let git = path.split('/').any(|part| part.eq_ignore_ascii_case(".git"));
                        let takes_away = changes.get(path).is_some_and(|file| file.is.is_none());
                        assert!(!git || takes_away, "{path}");
                    }
                }
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((way, bytes)) = bytes.split_first() else { return };
    let (pack, names) = match way % 4 {
        0 => (bytes.to_vec(), vec![]),
        _ => framed(bytes),
    };
    let whole = read(&[&pack]);
    // However it is cut, it is the same pack.
    let (front, back) = pack.split_at(usize::from(*way).min(pack.len()));
    let (middle, end) = back.split_at(back.len() / 2);
    let cut = read(&[front, middle, end]);
    assert_eq!(whole.is_some(), cut.is_some());
    if let (Some(whole), Some(cut)) = (&whole, &cut) {
        assert_eq!(whole.count, cut.count);
        for name in &names {
            assert_eq!(whole.get(*name), cut.get(*name));
            assert_eq!(whole.size(*name), cut.size(*name));
        }
        look(whole, &names);
    }
});
