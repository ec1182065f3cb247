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
    let page = page.unwrap_or_default();
    let size = if page.size == 0 { PAGE_DEFAULT } else { page.size.min(PAGE_MOST) };
    if page.token.is_empty() {
        return Ok(PageAt { below: None, size });
    }
    let opened = Some(&page.token)
        .filter(|token| token.len() <= TOKEN_CHARS)
        .and_then(|token| URL_SAFE_NO_PAD.decode(token).ok())
        .and_then(|token| broker.sealer.open_page(&token, query))
        .and_then(Row::new);
    match opened {
        Some(row) => Ok(PageAt { below: Some(row), size }),
        None => Err(Refusal::Invalid {
            field: "page.token",
            message: "it is not from this list; start again without a token".into(),
        }),
    }
}

/// The token of the next page; empty at the end.
pub(super) fn render(broker: &Broker, next: Option<Row>, query: &str) -> Result<String, Refusal> {
    let Some(row) = next else {
        return Ok(String::new());
    };
    Ok(URL_SAFE_NO_PAD.encode(broker.sealer.seal_page(row.get(), query)?))
}

/// Names a query: the list, its filter, and who asks.
pub(super) fn query(list: &str, filter: &str, caller: &Caller) -> String {
    let session = caller.session.as_ref().map(|own| own.session.id.to_string()).unwrap_or_default();
    format!("{list}\n{filter}\n{}\n{session}", caller.principal.id)
}
