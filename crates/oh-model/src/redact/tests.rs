use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::vec;

use proptest::prelude::*;

use super::*;

/// What is never to be seen again; it has no mark that ends a value.
const SECRET: &str = "S3cr-et_0123456789/x+y";

fn text(text: &str) -> String {
    String::from_utf8(Redactor::default().text(text.as_bytes())).unwrap()
}

fn words(arguments: &[&str]) -> Vec<String> {
    let arguments: Vec<Vec<u8>> = arguments.iter().map(|word| word.as_bytes().to_vec()).collect();
    let redacted = Redactor::default().arguments(&arguments);
    redacted.into_iter().map(|word| String::from_utf8(word).unwrap()).collect()
}

/// Texts with a secret (`§`) in them; nothing else of them changes.
const TEXTS: &[&str] = &[
    "GET /?tkn=§ HTTP/1.1",
    "GET /?a=b&tkn=§&c=d HTTP/1.1",
    "https://localhost:3000/?session_api_key=§&x=1",
    "X-Session-API-Key: § ",
    "Authorization: §",
    "> authorization: §\r\n> accept: */*",
    "curl -H 'Authorization: §' http://x/",
    "Cookie: §\nHost: x",
    "curl -H \"Cookie: §\" http://x/",
    "proxy_set_header Cookie \"§\";",
    "    proxy_set_header Authorization \"§\";\n    proxy_pass http://x;",
    "proxy_set_header X-Api-Key §;",
    "    set $api_key \"§\";",
    "fastcgi_param DB_PASSWORD §;",
    "\"~^a$\" \"code-server-session=§\";",
    "a; vscode-tkn=§; b=c",
    "PASSWORD=§",
    "export GITHUB_TOKEN=§\nPATH=/bin",
    "hashed-password: §",
    "{\"apiKey\": \"§\", \"port\": 8888}",
    "{\"apiKey\":\"§\",\"port\":8888}",
    "{'client_secret': '§'}",
    "{\"line\":\"{\\\"token\\\":\\\"§\\\",\\\"a\\\":1}\"}",
    "{\"argv\":[\"sh\",\"-c\",\"PASSWORD=§ node x\"]}",
    "node --password § --port 1",
    "node --password=§ --port 1",
    "node --connection-token '§' --port 1",
    "access_key = §\nregion = x",
    "AWS_SECRET_ACCESS_KEY=§",
    "https://user:§@github.com/a/b.git",
    "remote: https://§@github.com/a/b.git",
    "the answer was: Bearer § and no more",
    "password: \"§",
];

#[test]
fn what_stands_behind_a_telling_name_goes_and_nothing_else() {
    for template in TEXTS {
        // An address ends at a slash.
        let secret = if template.contains("@github") { "S3cr-et_0123456789xy" } else { SECRET };
        let redacted = text(&template.replace('§', secret));
        assert_eq!(redacted, template.replace('§', "<redacted>"));
        assert_eq!(text(&redacted), redacted, "twice");
    }
}

#[test]
fn what_hides_nothing_stays_as_it_is() {
    for plain in [
        "",
        "a\0b\n\r\tc",
        "MONKEY=1 keyboard=us turkey: x",
        "--without-connection-token 8888",
        "--disable-token-auth yes",
        "--connection-token-file /run/token",
        "ssl_certificate_key /etc/ssl/x.key;",
        "{\"key\": null, \"token\": true}",
        "{\"key\": {\"id\": 1}}",
        "proxy_pass http://127.0.0.1:8888/;",
        "git@github.com:a/b.git ssh://git@host/x",
        "token::new(1)",
        "if (password == x)",
        "http://a.b/@c",
        "the cookie is gone",
        "proxy_set_header Authorization $http_authorization;",
        "map $http_cookie $x { default 0; }",
    ] {
        assert_eq!(text(plain), plain);
    }
}

#[test]
fn the_word_behind_a_flag_is_the_secret_to_its_end() {
    let given = ["node", "--password", "two words", "--port=1", "--token=a b;c", "TOKEN=x y"];
    let shown = ["node", "--password", "<redacted>", "--port=1", "--token=<redacted>"];
    assert_eq!(words(&given), [&shown[..], &["TOKEN=<redacted>"]].concat());
    let given = ["x", "--without-connection-token", "8888", "--password", "--port", "1"];
    assert_eq!(words(&given), given);
    let given = ["curl", "--header", "Authorization: Bearer a b", "https://u:p@h/?tkn=1"];
    let shown = ["curl", "--header", "Authorization: <redacted>", "https://u:<redacted>@h/?tkn="];
    let mut shown = shown.map(str::to_owned);
    shown[3].push_str("<redacted>");
    assert_eq!(words(&given), shown);
}

#[test]
fn secrets_of_records_are_found_wherever_they_stand() {
    let redactor =
        Redactor::of([b"0123456789abcdef".to_vec(), b"0123456789".to_vec(), b"a".to_vec()]);
    assert_eq!(redactor.string("a/0123456789abcdef/0123456789b"), "a/<redacted>/<redacted>b");
    assert_eq!(redactor.text(b"\xff0123456789\xff"), b"\xff<redacted>\xff");
}

#[test]
fn a_password_with_marks_in_it_goes_to_its_end_where_the_end_is_known() {
    assert_eq!(text("PASSWORD=a;b&c,d e"), "PASSWORD=<redacted> e");
    assert_eq!(text("x \"password\": \"a\\\"b;c\" y"), "x \"password\": \"<redacted>\" y");
    assert_eq!(text("https://u:a@b@host/x"), "https://u:<redacted>@host/x");
    assert_eq!(text("x token: a, b"), "x token: <redacted>, b");
}

#[test]
fn a_text_that_is_made_to_take_long_does_not() {
    // Each name would have the whole rest for its value: a megabyte, a hundred thousand times.
    for part in ["key=[", "x://a", "token: {", "Cookie", "--token ", "key=\\\""] {
        let hostile = part.repeat(1024 * 1024 / part.len());
        assert!(!text(&hostile).is_empty());
    }
}

proptest! {
    #[test]
    fn no_secret_survives_in_any_surroundings(
        at in 0..TEXTS.len(),
        before in "[ a-z0-9\n\"{};,]{0,20}",
        behind in "[ a-z0-9\n\"{};,]{0,20}",
        secret in "[A-Z][A-Z0-9_]{24,40}",
    ) {
        let template = TEXTS[at].replace('§', &secret);
        let redacted = text(&format!("{before}\n{template}\n{behind}"));
        prop_assert!(!redacted.contains(&secret), "{}", redacted);
        prop_assert!(redacted.starts_with(&before));
        prop_assert!(redacted.ends_with(&behind));
    }

    #[test]
    fn doing_it_twice_is_doing_it_once(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let once = Redactor::default().text(&bytes);
        prop_assert_eq!(Redactor::default().text(&once), once);
    }

    #[test]
    fn doing_it_twice_is_doing_it_once_with_what_matters(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "password", "--token", "Cookie", "Bearer", "https", "://", "@", ":", "=", " ", "\"",
                "\\\"", "'", "\n", "a", "key", "{", "null", ";", "_header ", "<redacted>", "\\", "/",
            ]),
            0..14,
        ),
    ) {
        let once = text(&parts.concat());
        prop_assert_eq!(text(&once), once);
    }
}
