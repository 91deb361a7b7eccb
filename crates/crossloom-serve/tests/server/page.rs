use crate::browser::Session;
use crate::support::{MODEL, Server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_opens_without_an_error_and_says_what_is_served() {
    let server = Server::simple(&["red"]).await;
    let address = format!("http://{}/", server.address);
    let opened = tokio::task::spawn_blocking(move || Some(Session::visit(&address)?.document("")));
    let Some(document) = opened.await.unwrap() else { return };
    assert!(document.contains(&format!(">{MODEL}</h1>")), "{document}");
    let about = "It reads 64 positions, sees up to 3 pictures and has 2 gated edges.";
    assert!(document.contains(about), "{document}");
}

#[tokio::test]
async fn the_page_may_do_nothing_but_ask_this_server() {
    let server = Server::simple(&["red"]).await;
    let said = server.get("/").await;
    assert_eq!(
        (said.status, &said.headers["content-type"]),
        (200, &"text/html; charset=utf-8".parse().unwrap())
    );
    let policy = said.headers["content-security-policy"].to_str().unwrap();
    for rule in ["default-src 'none'", "connect-src 'self'", "script-src 'sha256-", "frame-ancestors 'none'"]
    {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
}
