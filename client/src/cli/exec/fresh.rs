//! Keeps the credential in a file fresh while the command runs.

use std::time::Duration;

use jeton_client::{Client, ErrorKind, now_millis};

use crate::cli::{
    ask::{self, Held},
    failure::Failure,
    output::note,
    secret_file::SecretFile,
};

/// Shortest pause, whatever the life of a credential.
const SHORTEST: Duration = Duration::from_secs(1);

/// Renews at two thirds of the life, again and again. Ends when the broker refuses for good; the
/// command runs on with what it has.
pub async fn keep(client: &Client, held: &Held, ttl: Option<Duration>, file: &SecretFile) {
    let mut end = held.issued.expires_at.or(held.grant.expires_at);
    let mut share = Share::TWO_THIRDS;
    // What never ends needs no renewal.
    while let Some(expires) = end {
        tokio::time::sleep(pause(now_millis(), expires, share)).await;
        match renewed(client, &held.grant.id, ttl, file).await {
            Ok(next) => (end, share) = (next, Share::TWO_THIRDS),
            Err(failure) => {
                note(&failure.text());
                let over = now_millis() >= expires;
                if over || !is_passing(&failure) {
                    note("jeton: the credential is not renewed any more\n");
                    return;
                }
                share = Share::A_TENTH;
            }
        }
    }
}

async fn renewed(
    client: &Client,
    id: &str,
    ttl: Option<Duration>,
    file: &SecretFile,
) -> Result<Option<i64>, Failure> {
    let held = ask::held(client.renew_grant(id, ttl).await?)?;
    file.write(ask::usable(&held.issued)?)?;
    Ok(held.issued.expires_at.or(held.grant.expires_at))
}

fn is_passing(failure: &Failure) -> bool {
    match failure {
        Failure::Told(error) => matches!(
            error.kind(),
            ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::Upstream | ErrorKind::Config
        ),
        Failure::Invalid(_)
        | Failure::Missing(_)
        | Failure::Broken(_)
        | Failure::Tampered(_)
        | Failure::Pending(_)
        | Failure::GatewayOnly(..)
        | Failure::Ended(_) => false,
    }
}

/// A part of the life that is left.
#[derive(Debug, Clone, Copy)]
struct Share {
    of: u64,
    in_all: u64,
}

impl Share {
    /// When to renew.
    const TWO_THIRDS: Self = Self { of: 2, in_all: 3 };
    /// When to try again.
    const A_TENTH: Self = Self { of: 1, in_all: 10 };
}

fn pause(now: i64, expires: i64, share: Share) -> Duration {
    let left = u64::try_from(expires.saturating_sub(now)).unwrap_or(0);
    Duration::from_millis(left.saturating_mul(share.of) / share.in_all).max(SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_comes_at_two_thirds_of_what_is_left() {
        assert_eq!(pause(0, 900_000, Share::TWO_THIRDS), Duration::from_secs(600));
        assert_eq!(pause(600_000, 900_000, Share::A_TENTH), Duration::from_secs(30));
    }

    #[test]
    fn odd_times_never_make_a_hot_loop_or_an_overflow() {
        for (now, expires) in
            [(5, 5), (9, 5), (0, i64::MAX), (i64::MIN, i64::MAX), (i64::MAX, i64::MIN)]
        {
            assert!(pause(now, expires, Share::TWO_THIRDS) >= SHORTEST);
        }
    }
}
