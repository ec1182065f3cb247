//! Pages: bounded, and with tokens that fit only the query and the caller that they were made for.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_domain::id::Row;
use jeton_proto::v1::Page;

use crate::{
    limits::{PAGE_DEFAULT, PAGE_MOST},
    operation::{Broker, Caller, Refusal},
    store::PageAt,
};

/// Longest page token. Why: ours are 50 characters.
const TOKEN_CHARS: usize = 200;

/// Reads where a page starts. `query` names the list, its filter and the caller.
pub(super) fn parse(broker: &Broker, page: Option<Page>, query: &str) -> Result<PageAt, Refusal> {
    let (place, size) = place(broker, page, query)?;
    let below = place.map(|place| Row::new(place).ok_or_else(foreign)).transpose()?;
    Ok(PageAt { below, size })
}

/// Reads at which place a page starts, if it is not the first, and how many rows it has.
pub(super) fn place(
    broker: &Broker,
    page: Option<Page>,
    query: &str,
) -> Result<(Option<u64>, u32), Refusal> {
    let page = page.unwrap_or_default();
    let size = if page.size == 0 { PAGE_DEFAULT } else { page.size.min(PAGE_MOST) };
    if page.token.is_empty() {
        return Ok((None, size));
    }
    let opened = Some(&page.token)
        .filter(|token| token.len() <= TOKEN_CHARS)
        .and_then(|token| URL_SAFE_NO_PAD.decode(token).ok())
        .and_then(|token| broker.sealer.open_page(&token, query));
    Ok((Some(opened.ok_or_else(foreign)?), size))
}

fn foreign() -> Refusal {
    Refusal::Invalid {
        field: "page.token",
        message: "it is not from this list; start again without a token".into(),
    }
}

/// The token of the next page; empty at the end.
pub(super) fn render(broker: &Broker, next: Option<Row>, query: &str) -> Result<String, Refusal> {
    render_place(broker, next.map(Row::get), query)
}

/// The token of the page that starts at a place; empty at the end.
pub(super) fn render_place(
    broker: &Broker,
    next: Option<u64>,
    query: &str,
) -> Result<String, Refusal> {
    let Some(place) = next else {
        return Ok(String::new());
    };
    Ok(URL_SAFE_NO_PAD.encode(broker.sealer.seal_page(place, query)?))
}

/// Names a query: the list, its filter, and who asks.
pub(super) fn query(list: &str, filter: &str, caller: &Caller) -> String {
    let session = caller.session.as_ref().map(|own| own.session.id.to_string()).unwrap_or_default();
    format!("{list}\n{filter}\n{}\n{session}", caller.principal.id)
}
