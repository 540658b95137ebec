//! What the git program sends to a server, seen from the server.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]
#![expect(clippy::disallowed_methods, reason = "tests set up their place themselves")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Router, extract::State, http::HeaderMap};
use nightshift::{
    git::network::{Credential, Error, Network},
    redact::Secret,
};

type Seen = Arc<Mutex<Vec<Vec<String>>>>;

/// A server that answers everything with `status` and remembers the logins of each request.
async fn server(status: u16) -> (String, Seen) {
    let seen = Seen::default();
    let answer = move |State(seen): State<Seen>, headers: HeaderMap| async move {
        let logins = headers.get_all("authorization").iter();
        let logins = logins.map(|login| login.to_str().unwrap().to_owned()).collect();
        seen.lock().unwrap().push(logins);
        let status = axum::http::StatusCode::from_u16(status).unwrap();
        (status, [("www-authenticate", "Basic realm=\"git\"")])
    };
    let router = Router::new().fallback(answer).with_state(seen.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, seen)
}

/// A user whose configuration holds the header that actions/checkout leaves behind.
fn user(directory: &std::path::Path, url: &str) -> BTreeMap<String, String> {
    let configuration = format!(
        "[http \"{url}/\"]\n\textraheader = AUTHORIZATION: basic left-behind\n\
         [http]\n\textraheader = AUTHORIZATION: basic everywhere\n\
         [credential]\n\thelper = \"!f() {{ echo username=helper; echo password=helped; }}; f\"\n"
    );
    std::fs::write(directory.join(".gitconfig"), configuration).unwrap();
    std::fs::create_dir(directory.join("vault.git")).unwrap();
    git2::Repository::init_bare(directory.join("vault.git")).unwrap();
    let home = directory.to_str().unwrap().to_owned();
    let path = std::env::var("PATH").unwrap();
    [("HOME", home), ("PATH", path), ("GIT_CONFIG_NOSYSTEM", "1".to_owned())]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_arrives_alone_whatever_headers_were_left_in_a_configuration() {
    let (url, seen) = server(404).await;
    let directory = tempfile::tempdir().unwrap();
    let user = user(directory.path(), &url);
    let network = Network::new(directory.path().join("vault.git"), &user)
        .with_credential(Credential { server: url.clone(), token: Secret::new("to-ken") });
    let outcome = network.list(&format!("{url}/o/r.git"), "refs/heads/*");
    assert!(matches!(outcome, Err(Error::NotFound(_))), "{outcome:?}");
    // base64 of `x-access-token:to-ken`.
    let alone = vec!["Basic eC1hY2Nlc3MtdG9rZW46dG8ta2Vu".to_owned()];
    assert!(!seen.lock().unwrap().is_empty());
    assert!(seen.lock().unwrap().iter().all(|logins| *logins == alone), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_in_an_address_arrives_as_a_header() {
    let (url, seen) = server(502).await;
    let directory = tempfile::tempdir().unwrap();
    let network = Network::new(directory.path().join("vault.git"), &user(directory.path(), &url));
    let with_login = url.replace("http://", "http://me:pass@");
    let outcome = network.list(&format!("{with_login}/o/r.git"), "refs/heads/*");
    assert!(matches!(outcome, Err(Error::Unreachable(_))), "{outcome:?}");
    let seen = seen.lock().unwrap().clone();
    assert!(seen.iter().all(|logins| *logins == ["Basic bWU6cGFzcw=="]), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_the_users_own_helper_is_asked_and_nobody_else() {
    let (url, seen) = server(401).await;
    let directory = tempfile::tempdir().unwrap();
    let user = user(directory.path(), "http://elsewhere.example");
    let configuration = directory.path().join(".gitconfig");
    let text = std::fs::read_to_string(&configuration).unwrap();
    std::fs::write(&configuration, text.replace("extraheader", "unused")).unwrap();
    let network =
        Network::new(directory.path().join("vault.git"), &user).with_credential(Credential {
            server: "http://127.0.0.1:1".to_owned(),
            token: Secret::new("for-another-server"),
        });
    let outcome = network.list(&format!("{url}/o/r.git"), "refs/heads/*");
    assert!(matches!(outcome, Err(Error::AuthenticationFailed(_))), "{outcome:?}");
    // First without a login, then with the helper's: base64 of `helper:helped`.
    let expected = [vec![], vec!["Basic aGVscGVyOmhlbHBlZA==".to_owned()]];
    assert_eq!(seen.lock().unwrap()[..2], expected);
}
