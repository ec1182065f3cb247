//! Paths of calls: what is taken is read by everybody in the same way.
#![no_main]

use std::collections::BTreeSet;

use jeton_domain::{
    route::{AllowedKeys, Content, PlainPath, Route, RouteParts, TermsParts},
    scope::{Action, Upstream},
};
use jeton_git::request::Request;
use libfuzzer_sys::fuzz_target;
use url::Url;

fn route() -> Route {
    Route::new(RouteParts {
        upstream: Upstream::parse("github").expect("a name"),
        methods: ["GET".to_owned()].into(),
        path: "/repos/{owner}/{name}/**",
        resource: "{owner}/{name}",
        action: Action::parse("issues:read").expect("an action"),
        query: AllowedKeys::default(),
        headers: BTreeSet::new(),
        socket: false,
        terms: TermsParts::default(),
    })
    .expect("a route")
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(path) = PlainPath::parse(text) {
        // A parser that others wrote changes nothing of it, and finds the same segments.
        let url = Url::parse(&format!("https://upstream.example/base{text}")).expect("a path");
        assert_eq!(url.path(), format!("/base{text}"));
        assert!(url.query().is_none() && url.fragment().is_none());
        let segments = url.path_segments().expect("segments").skip(1).count();
        assert_eq!(path.as_str().split('/').skip(1).count(), segments);
        assert!(!path.as_str().split('/').any(|part| part == ".." || part == "."));
        if let Some(resource) = route().takes("GET", &path, &Content::Empty) {
            // The name keeps its spelling: the broker folds it, where the upstream does, before it matches the path.
            assert!(path.as_str().starts_with(&format!("/repos/{resource}/")), "{resource}");
        }
    }
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    for method in ["GET", "POST", "PUT"] {
        if let Ok(request) = Request::parse(method, path, query) {
            assert_eq!(request.service.method(), method);
            let below = format!("{}.git/{}", request.resource, request.service.path());
            let url = Url::parse(&format!("https://upstream.example/{below}")).expect("a path");
            let whole = url.query().map_or(String::new(), |query| format!("?{query}"));
            assert_eq!(format!("{}{whole}", url.path()), format!("/{below}"));
            // Nothing but the case of the repository's name is another.
            let said = format!("/git/{}/{below}", request.upstream);
            assert!(said.eq_ignore_ascii_case(text), "{said}: {text}");
        }
    }
});
