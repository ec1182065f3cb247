//! Bounds repeated log lines: per call site and subject, and per call site in all.
//!
//! Every line of level info and above passes here, so no caller can fill standard error, whatever
//! it makes the broker say. Debug and trace lines are for whoever switched them on.

use std::{
    collections::HashMap,
    fmt::{self, Write},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

use super::Suppressed;
use crate::limits::{LOG_LINES_OF_SITE, LOG_LINES_OF_SUBJECT, LOG_SUBJECTS_OF_SITE, LOG_WINDOW};

/// Fields that name whom or what a line is about.
const SUBJECT_FIELDS: [&str; 4] = ["subject", "upstream", "issuer", "reviewer"];

/// The limiter of this process.
pub(super) fn limiter() -> &'static LineLimiter {
    static LIMITER: OnceLock<LineLimiter> = OnceLock::new();
    LIMITER.get_or_init(LineLimiter::default)
}

/// Counts lines, and drops those beyond the limits.
#[derive(Default)]
pub(super) struct LineLimiter(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    began: Option<Instant>,
    sites: HashMap<Identifier, Site>,
    /// Lines that were dropped in windows that are over.
    dropped: HashMap<Identifier, (&'static Metadata<'static>, u64)>,
}

/// One call site in this window.
struct Site {
    metadata: &'static Metadata<'static>,
    written: u32,
    dropped: u64,
    subjects: HashMap<u64, u32>,
}

impl Lines {
    fn roll(&mut self, now: Instant) {
        let over = |began: Instant| now.saturating_duration_since(began) >= LOG_WINDOW;
        if !self.began.is_none_or(over) {
            return;
        }
        self.began = Some(now);
        for site in self.sites.drain().map(|(_, site)| site).filter(|site| site.dropped > 0) {
            let of_site = self.dropped.entry(site.metadata.callsite());
            let (_, dropped) = of_site.or_insert((site.metadata, 0));
            *dropped = dropped.saturating_add(site.dropped);
        }
    }

    fn admit(&mut self, metadata: &'static Metadata<'static>, subject: u64) -> bool {
        let site = self.sites.entry(metadata.callsite()).or_insert_with(|| Site {
            metadata,
            written: 0,
            dropped: 0,
            subjects: HashMap::new(),
        });
        let apart =
            site.subjects.len() < LOG_SUBJECTS_OF_SITE || site.subjects.contains_key(&subject);
        let of_subject = site.subjects.entry(if apart { subject } else { 0 }).or_default();
        if site.written < LOG_LINES_OF_SITE && *of_subject < LOG_LINES_OF_SUBJECT {
            site.written = site.written.saturating_add(1);
            *of_subject = of_subject.saturating_add(1);
            true
        } else {
            site.dropped = site.dropped.saturating_add(1);
            false
        }
    }
}

impl LineLimiter {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line for each call site whose lines were dropped in a window that is over, or in
    /// any window.
    pub(super) fn report(&self, which: Suppressed) {
        let mut lines = self.lines();
        if which == Suppressed::All {
            lines.began = None;
        }
        lines.roll(Instant::now());
        let dropped = std::mem::take(&mut lines.dropped);
        // Why before writing: a line that is written passes here.
        drop(lines);
        for (site, lines) in dropped.into_values() {
            let (file, line) = (site.file().unwrap_or("?"), site.line().unwrap_or_default());
            tracing::warn!(site = %format_args!("{file}:{line}"), lines, "{lines} similar lines suppressed");
        }
    }
}

/// The limiter, as a layer before the one that writes.
pub(super) struct LimitLines;

impl<S: Subscriber> Layer<S> for LimitLines {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == module_path!() {
            return true;
        }
        let mut subject = SubjectHash(DefaultHasher::new());
        event.record(&mut subject);
        let mut lines = limiter().lines();
        lines.roll(Instant::now());
        lines.admit(metadata, subject.0.finish())
    }
}

/// Hashes the fields that name a subject.
struct SubjectHash(DefaultHasher);

impl Write for SubjectHash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl Visit for SubjectHash {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if SUBJECT_FIELDS.contains(&field.name()) {
            field.name().hash(&mut self.0);
            // Why no error: the hasher takes every text.
            let _ = write!(self, "{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Written {
        type Writer = Self;
        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    // Why one test: the limiter is the process's.
    #[test]
    fn repeated_lines_are_dropped_per_subject_and_counted() {
        let written = Written::default();
        let subscriber = tracing_subscriber::registry()
            .with(LimitLines)
            .with(tracing_subscriber::fmt::layer().with_writer(written.clone()));
        tracing::subscriber::with_default(subscriber, || {
            for place in 0..1_000 {
                let subject = if place % 100 == 99 { "victim" } else { "mallory" };
                tracing::info!(subject, place, "no identity");
            }
            for place in 0..1_000 {
                tracing::warn!(subject = place, "another site");
                tracing::debug!(place, "for whoever switched it on");
            }
            limiter().report(Suppressed::All);
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!(count("mallory"), 10, "{text}");
        assert_eq!(count("victim"), 10, "{text}");
        assert_eq!(count("another site"), 60);
        assert_eq!(count("switched it on"), 1_000);
        assert_eq!(count("980 similar lines suppressed"), 1, "{text}");
        assert_eq!(count("940 similar lines suppressed"), 1, "{text}");
    }
}
