//! A look at the pull requests of all nights: what a person ticked, merged or closed since. Changes nothing, and asks
//! once: a night begins without an answer as well.

use std::time::Duration;

use super::{GitHub, Pull, api::Verb, judge::Problem};
use crate::{
    forge::{ForgeError, Seen},
    ids::{BRANCH_NAMESPACE, NightId},
    ledger::Standing,
    report::marker,
};

/// Longest wait for the answer: whoever waits for it has a night to begin.
const LIMIT: Duration = Duration::from_secs(10);
const WHAT: &str = "look at the pull requests of earlier nights";

/// The hundred that were touched last, of those only ours. GitHub filters by whole branch names alone.
pub(super) async fn pulls(github: &GitHub) -> Result<Vec<Seen>, ForgeError> {
    let settings = &github.settings;
    let limit = settings.request_limit.min(LIMIT);
    let (api, _) = github.api(limit).await?;
    let fork = settings.fork.as_ref().map(|(owner, name)| format!("{owner}/{name}"));
    let path = format!(
        "/repos/{}/{}/pulls?state=all&sort=updated&direction=desc&per_page=100",
        settings.owner, settings.name
    );
    let answer = api.send(Verb::Get, &path, None).await.map_err(|problem| problem.failed(WHAT))?;
    let pulls: Vec<Pull> = serde_json::from_value(answer).map_err(|error| {
        Problem::unclear(&format!("GitHub's answer is odd: {error}")).failed(WHAT)
    })?;
    Ok(pulls.into_iter().filter_map(|pull| seen(pull, fork.as_deref())).collect())
}

/// `None` for pull requests that no night made: of people, and of forks that are not ours, whatever their branch is
/// called.
fn seen(pull: Pull, fork: Option<&str>) -> Option<Seen> {
    let namespace = BRANCH_NAMESPACE.strip_prefix("refs/heads/")?;
    let night = NightId::new(pull.head.name.strip_prefix(namespace)?).ok()?;
    let body = pull.body?;
    let here = match (&pull.head.repo, &pull.base.repo) {
        (Some(head), Some(base)) => {
            head.full_name == base.full_name || fork.is_some_and(|fork| head.full_name == fork)
        }
        (None, Some(_)) => false,
        (_, None) => true,
    };
    let ours = here && body.trim_start().starts_with(&marker(&night));
    let standing = match (pull.merged_at.is_some(), pull.state == "open") {
        (true, _) => Standing::Merged,
        (false, true) => Standing::Open,
        (false, false) => Standing::Closed,
    };
    ours.then_some(Seen { number: pull.number, url: pull.html_url, night, standing, body })
}
