//! One mail, in plain text. Its subject is the pull request's title, as a mail of the forge's own has it.

use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
};
use url::Url;

use super::LIMIT;
use crate::{http, redact::Secret, report::notice::Notice};

pub(super) async fn send(
    to: &str,
    from: &str,
    server: &Secret,
    notice: &Notice,
) -> Result<(), String> {
    let mailbox = |text: &str| {
        text.parse::<Mailbox>().map_err(|problem| format!("`{text}` is no address: {problem}"))
    };
    let mail = Message::builder()
        .from(mailbox(from)?)
        .to(mailbox(to)?)
        .subject(&notice.title)
        .header(ContentType::TEXT_PLAIN)
        .body(format!("{}\n", notice.line))
        .map_err(|problem| problem.to_string())?;
    let address = address(server.expose())?;
    // The provider of cryptography is the process's; one that is there already is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(address.as_str())
        .map_err(|problem| format!("the mail server's address cannot be used: {problem}"))?
        .timeout(Some(LIMIT))
        .build();
    let host = address.host_str().unwrap_or("the mail server");
    let sent = tokio::time::timeout(2 * LIMIT, server.send(mail)).await;
    match sent {
        Ok(Ok(_)) => Ok(()),
        // Its own words may repeat what signs in.
        Ok(Err(problem)) => Err(match problem.status() {
            Some(code) => format!("{host} answered {code}"),
            None => format!("{host}: {}", http::reason(&problem)),
        }),
        Err(_) => Err(format!("{host} did not answer within {} seconds", 2 * LIMIT.as_secs())),
    }
}

/// Where mail is handed in: encrypted, or on this machine. `smtp://` to another host asks for STARTTLS, whatever the
/// address says.
fn address(text: &str) -> Result<Url, String> {
    let wrong = "expected `smtps://user:password@host` or `smtp://host:port`";
    let mut address = Url::parse(text).map_err(|_| wrong.to_owned())?;
    let Some(host) = address.host_str() else { return Err(wrong.to_owned()) };
    match address.scheme() {
        "smtps" => {}
        "smtp" if http::is_loopback(host) => {}
        "smtp" => address.set_query(Some("tls=required")),
        _ => return Err(wrong.to_owned()),
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_is_handed_in_encrypted_or_on_this_machine() {
        let url = |text: &str| address(text).map(|url| url.to_string());
        assert_eq!(url("smtps://u:p@mail.example").unwrap(), "smtps://u:p@mail.example");
        assert_eq!(
            url("smtp://mail.example:587?tls=opportunistic").unwrap(),
            "smtp://mail.example:587?tls=required"
        );
        assert_eq!(url("smtp://127.0.0.1:2525").unwrap(), "smtp://127.0.0.1:2525");
        for wrong in ["mail.example", "http://mail.example", "smtp:mail", ""] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
