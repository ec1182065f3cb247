//! What a push brings along, told file by file and commit by commit, with what the upstream has beside it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jeton_domain::deed::{Change, Deed};
use jeton_git::{
    history::{Ancestry, Changes, Commit, Missing, Untold, folded},
    limits::PUSH_FILES,
    name::ObjectId,
    pack::Objects,
};

use super::fetch::{Origin, Question};

/// Rounds of asking the upstream for what is missing.
const ROUNDS: usize = 4;

/// Whether a ref goes on from where it stood. When that can't be known, it does not.
pub(super) async fn change(
    objects: &Objects,
    origin: &Origin<'_>,
    (old, new): (ObjectId, ObjectId),
) -> Change {
    let edge = match objects.ancestry(new, old) {
        Ancestry::Yes => return Change::Update,
        Ancestry::Unknown(edge) => edge,
    };
    if edge.is_empty() {
        return Change::Force;
    }
    let question = Question {
        want: edge.iter().copied().collect(),
        have: vec![old],
        deepen: None,
        filter: "tree:0",
    };
    let Some(more) = origin.fetch(&question).await else { return Change::Force };
    // What is at the upstream, from each of the edge on; one of them has to lead to where the ref stood.
    let leads = |id: &ObjectId| more.ancestry(*id, old) == Ancestry::Yes;
    if edge.iter().any(leads) { Change::Update } else { Change::Force }
}

/// All that policies may be asked about what a ref brings.
///
/// # Errors
/// When it can't be told.
pub(super) async fn deeds(
    objects: &mut Objects,
    origin: &Origin<'_>,
    new: ObjectId,
    change: Change,
) -> Result<Vec<Deed>, Untold> {
    let new = objects.peeled(new);
    if objects.is_no_commit(new) {
        return Err(Untold::Odd("what is no commit"));
    }
    objects.forget_theirs();
    bring_strangers(objects, origin, new).await?;
    let (commits, _) = objects.brought(new)?;
    let mut deeds = Vec::new();
    for commit in &commits {
        let author: Arc<str> = commit.author.as_str().into();
        deeds.push(Deed::Commit { change, author, signed_off: commit.signed_off });
    }
    let mut files: BTreeMap<String, Option<u64>> = BTreeMap::new();
    for commit in commits {
        // Why: reading folders takes long, and others want the processor too.
        tokio::task::yield_now().await;
        let changes = changes(objects, origin, commit).await?;
        let before: BTreeSet<_> = changes.values().filter_map(|changed| changed.was).collect();
        for (path, changed) in &changes {
            let bytes = changed.is.and_then(|id| match objects.size(id) {
                Some(bytes) => Some(bytes),
                // It stood elsewhere before.
                None if before.contains(&id) => None,
                // The upstream has it, and nobody knows how large it is.
                None => Some(u64::MAX),
            });
            let most = files.entry(path.clone()).or_default();
            *most = (*most).max(bytes);
        }
        if files.len() > PUSH_FILES {
            return Err(Untold::TooMuch);
        }
    }
    for (path, bytes) in files {
        let plain = folded(&path);
        // Why in both spellings: what a careless file system takes for a file is ruled like it.
        if plain != path {
            deeds.push(Deed::File { change, path: plain.into(), bytes });
        }
        deeds.push(Deed::File { change, path: path.into(), bytes });
    }
    Ok(deeds)
}

/// Brings in those commits that the upstream has and that none of its branches holds, such as one of somebody's
/// fork: they are as new to its branches as what the push brings.
async fn bring_strangers(
    objects: &mut Objects,
    origin: &Origin<'_>,
    new: ObjectId,
) -> Result<(), Untold> {
    let (_, edge) = objects.brought(new)?;
    let missing = |commits: &BTreeSet<ObjectId>| {
        Untold::Missing(Missing { commits: commits.clone(), trees: BTreeSet::new() })
    };
    if edge.is_empty() {
        return Ok(());
    }
    let tips = origin.tips().await.ok_or_else(|| missing(&edge))?;
    let edge: BTreeSet<ObjectId> = edge.into_iter().filter(|id| !tips.contains(id)).collect();
    if edge.is_empty() {
        return Ok(());
    }
    let question = Question {
        want: edge.iter().copied().collect(),
        have: tips,
        deepen: None,
        filter: "blob:none",
    };
    let more = origin.fetch(&question).await.ok_or_else(|| missing(&edge))?;
    objects.add(more);
    Ok(())
}

/// The files that a commit changes, with what is missing for that fetched.
async fn changes(
    objects: &mut Objects,
    origin: &Origin<'_>,
    mut commit: Commit,
) -> Result<Changes, Untold> {
    commit.parents = foremost(objects, origin, &commit.parents).await;
    let mut round = 0;
    loop {
        let missing = match objects.changes(&commit) {
            Err(Untold::Missing(missing)) if round < ROUNDS => missing,
            told => return told,
        };
        round += 1;
        let commits = Question {
            want: missing.commits.iter().copied().collect(),
            deepen: Some(1),
            filter: "blob:none",
            ..Question::default()
        };
        let trees = Question {
            want: missing.trees.iter().copied().collect(),
            filter: "blob:none",
            ..Question::default()
        };
        for question in [commits, trees] {
            if !question.want.is_empty() {
                let more = origin.fetch(&question).await;
                let more = more.ok_or_else(|| Untold::Missing(missing.clone()))?;
                objects.add_theirs(more, &missing.commits);
            }
        }
    }
}

/// Of the parents of a merge, those that no other goes on from. Why: a merge with an old commit of the same
/// branch would take over what was there long ago, and change nothing by that measure.
async fn foremost(objects: &Objects, origin: &Origin<'_>, parents: &[ObjectId]) -> Vec<ObjectId> {
    if parents.len() < 2 {
        return parents.to_vec();
    }
    let mut kept = Vec::new();
    for parent in parents {
        let mut behind = false;
        for other in parents.iter().filter(|other| *other != parent) {
            behind |= change(objects, origin, (*parent, *other)).await == Change::Update;
        }
        if !behind {
            kept.push(*parent);
        }
    }
    kept
}
