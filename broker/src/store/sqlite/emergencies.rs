//! Steps on emergencies: each stays open until somebody else reviewed it, and one that is open stands in
//! the way of the next.

use jeton_domain::{
    approval::{Approval, GlassName, Unreviewed},
    audit::Event,
    ttl::Timestamp,
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    rows,
    schema::broken,
    writer::{Txn, int},
};
use crate::store::{GlassReview, StoreError};

/// Refuses an emergency while one of the same kind is not reviewed.
pub(super) fn check(txn: &mut Txn<'_>, glass: &GlassName) -> Result<(), StoreError> {
    let open = read(txn.db)?;
    match open.iter().find(|one| one.glass == *glass) {
        Some(one) => Err(StoreError::Unreviewed(one.entry)),
        None => Ok(()),
    }
}

/// Keeps one until it is reviewed.
pub(super) fn keep(
    txn: &mut Txn<'_>,
    approval: &Approval,
    glass: &GlassName,
) -> Result<(), StoreError> {
    let unreviewed = Unreviewed {
        entry: approval.entry,
        glass: glass.clone(),
        by: approval.by.clone(),
        grant: approval.grant,
        session: approval.session,
        reason: approval.reason.clone(),
        at: approval.at,
    };
    let text = rows::text(&unreviewed)?;
    txn.run("INSERT INTO glass VALUES (?1, ?2)", params![int(approval.entry), text]).map(|_| ())
}

/// Records a review. Tells whether there was something to review.
pub(super) fn review(
    txn: &mut Txn<'_>,
    review: GlassReview,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let GlassReview { entry, by, justified, words } = review;
    let result = txn.db.query_row("SELECT text FROM glass WHERE entry = ?1", [int(entry)], |row| {
        row.get::<_, String>(0)
    });
    let Some(text) = txn.checked(result.optional())? else { return Ok(false) };
    let Unreviewed { glass, by: broken_by, .. } = parse(&text)?;
    txn.append(Event::GlassReviewed { entry, glass, broken_by, by, justified, words }, now)?;
    txn.run("DELETE FROM glass WHERE entry = ?1", [int(entry)])?;
    Ok(true)
}

/// Those that nobody has reviewed yet, oldest first.
pub(super) fn read(db: &Connection) -> Result<Vec<Unreviewed>, StoreError> {
    let mut statement =
        db.prepare_cached("SELECT text FROM glass ORDER BY entry").map_err(broken)?;
    let texts = statement.query_map([], |row| row.get::<_, String>(0)).map_err(broken)?;
    texts.map(|text| parse(&text.map_err(broken)?)).collect()
}

fn parse(text: &str) -> Result<Unreviewed, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Broken(format!("an emergency can't be read: {error}")))
}
