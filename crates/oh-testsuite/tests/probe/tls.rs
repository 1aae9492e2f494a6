//! Certificates of each kind, made by openssl and served by nginx.

use std::fs;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use oh_probe::dial::{Override, Route};
use oh_probe::failure::Failure;
use oh_probe::http1::{Request, exchange};
use oh_probe::limits::Limits;
use oh_probe::reach::{Reached, Way};
use oh_probe::target::Target;
use oh_probe::tls::{Distrust, Handshake, Trust};
use oh_testsuite::authority::Authority;
use oh_testsuite::lab::Lab;
use oh_testsuite::net;

/// The name under which all of them are asked for.
const NAME: &str = "oh.example";

/// Trusts a certificate of the folder.
fn trust(authority: &Authority, name: &str) -> Result<Trust> {
    let file = authority.file(name);
    Ok(Trust::of_pem(&fs::read(&file).with_context(|| format!("{}", file.display()))?)?)
}

/// What nginx serves: the file of the chain, the key, and what else the server says.
type Served<'s> = (&'s str, &'s str, &'s str);

/// Serves each chain on a port of its own.
fn serve(lab: &mut Lab, chains: &[Served<'_>]) -> Result<Vec<u16>> {
    let mut servers = String::new();
    let mut ports = Vec::new();
    for (chain, key, more) in chains {
        let port = net::free_port()?;
        servers += &format!(
            "server {{ listen 127.0.0.1:{port} ssl; server_name {NAME}; ssl_certificate {root}/{chain}; \
             ssl_certificate_key {root}/{key}.key; {more} return 200 hello; }}\n",
            root = lab.at("tls").display(),
        );
        ports.push(port);
    }
    lab.write("etc/nginx/conf.d/tls.conf", &servers)?;
    lab.start_nginx()?;
    Ok(ports)
}

fn way(port: u16, trust: &Trust) -> Result<Way> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let entry = Override { name: NAME.to_uppercase(), port, address };
    Ok(Way {
        target: Target::parse(&format!("https://{NAME}:{port}/"))?,
        route: Route { overrides: vec![entry], proxy: None },
        trust: Some(trust.clone()),
        takes_any_certificate: false,
        limits: Limits::default(),
    })
}

/// Reaches a server; a stream has to be there exactly where the certificate is good.
async fn reached(way: &Way) -> Result<Result<Handshake, Failure>> {
    let Reached { tls, stream, .. } = way.reach().await;
    let shaken = tls.context("TLS was not begun")?.value;
    let is_good = shaken.as_ref().is_ok_and(|handshake| handshake.verdict.is_ok());
    ensure!(stream.is_some() == is_good, "a stream without a good certificate, or none with one");
    if let Some(mut stream) = stream {
        let authority = way.target.authority();
        let answer = exchange(&mut stream, &Request::get("/", &authority), &way.limits).await?;
        ensure!(answer.text() == "hello", "{answer:?}");
    }
    Ok(shaken)
}

#[tokio::test]
async fn each_fault_of_a_certificate_is_named() -> Result<()> {
    let mut lab = Lab::plain()?;
    let folder = lab.at("tls");
    fs::create_dir_all(&folder)?;
    let authority = Authority::new(&folder);
    let names = "subjectAltName=DNS:oh.example,DNS:*.oh.example,IP:127.0.0.1";
    authority.self_signed("root", &[])?;
    authority.signed("between", "root", "9", &["basicConstraints=critical,CA:TRUE"])?;
    authority.signed("good", "between", "9", &[names])?;
    authority.signed("expired", "root", "-1", &[names])?;
    authority.signed("other", "root", "9", &["subjectAltName=DNS:other.example"])?;
    authority.signed("nameless", "root", "9", &[])?;
    authority.self_signed("self", &[names])?;
    authority.self_signed("self-leaf", &[names, "basicConstraints=critical,CA:FALSE"])?;
    authority.self_signed("strange", &[])?;
    authority.signed("strange-leaf", "strange", "9", &[names])?;
    authority.chain("whole.chain", &["good", "between"])?;
    authority.chain("strange.chain", &["strange-leaf", "strange"])?;

    let root = trust(&authority, "root")?;
    let cases: [(Served<'_>, Result<(), Distrust>); 9] = [
        (("whole.chain", "good", "ssl_protocols TLSv1.3;"), Ok(())),
        (
            ("good.pem", "good", ""),
            Err(Distrust::IntermediateMissing { issuer: "CN=between".to_owned() }),
        ),
        (("expired.pem", "expired", ""), Err(Distrust::Expired)),
        (
            ("other.pem", "other", ""),
            Err(Distrust::Name {
                wanted: NAME.to_owned(),
                names: vec!["other.example".to_owned()],
            }),
        ),
        (("nameless.pem", "nameless", ""), Err(Distrust::NoNames)),
        (("self.pem", "self", ""), Err(Distrust::SelfSigned)),
        (("self-leaf.pem", "self-leaf", ""), Err(Distrust::SelfSigned)),
        (
            ("strange.chain", "strange-leaf", ""),
            Err(Distrust::UnknownAuthority { issuer: "CN=strange".to_owned() }),
        ),
        (("whole.chain", "good", "ssl_protocols TLSv1.2;"), Ok(())),
    ];
    let served: Vec<_> = cases.iter().map(|(served, _)| *served).collect();
    let ports = serve(&mut lab, &served)?;
    let mut versions = Vec::new();
    for ((served, expected), port) in cases.iter().zip(&ports) {
        let handshake = match reached(&way(*port, &root)?).await? {
            Ok(handshake) => handshake,
            // A certificate without extensions is of version 1, with which no handshake ends.
            Err(Failure::Certificate(distrust)) => {
                assert_eq!((&Err(distrust), served.1), (expected, "nameless"));
                continue;
            }
            Err(other) => return Err(other.into()),
        };
        assert_eq!(&handshake.verdict, expected, "{served:?}");
        assert_eq!(handshake.alpn.as_deref(), Some("http/1.1"));
        versions.push(handshake.version);
    }
    assert_eq!((versions.first(), versions.last()), (Some(&"1.3"), Some(&"1.2")));

    // Given as it is, each of those that sign themselves is good, of whatever kind it is.
    for (name, port) in [("self", ports[5]), ("self-leaf", ports[6])] {
        assert_eq!(reached(&way(port, &trust(&authority, name)?)?).await??.verdict, Ok(()));
    }
    // For whom and until when still counts.
    let pinned = |name| trust(&authority, name);
    assert_eq!(
        reached(&way(ports[2], &pinned("expired")?)?).await??.verdict,
        Err(Distrust::Expired)
    );
    let other = reached(&way(ports[3], &pinned("other")?)?).await??;
    assert!(matches!(other.verdict, Err(Distrust::Name { .. })));

    // Whoever wants to may go on.
    let mut any = way(ports[2], &root)?;
    any.takes_any_certificate = true;
    assert!(any.reach().await.stream.is_some());

    let good = reached(&way(ports[0], &root)?).await??;
    let certificate = good.certificate.context("it can be read")?;
    let now_s = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let days = certificate.days_left(now_s);
    assert!((8..=9).contains(&days), "{days} of nine, and perhaps some seconds have gone");
    assert_eq!(certificate.names, ["oh.example", "*.oh.example", "127.0.0.1"]);
    assert_eq!((certificate.subject.as_str(), good.chain_length), ("CN=good", 2));
    Ok(())
}

#[tokio::test]
async fn what_is_no_handshake_is_told() -> Result<()> {
    let mut lab = Lab::plain()?;
    let folder = lab.at("tls");
    fs::create_dir_all(&folder)?;
    let authority = Authority::new(&folder);
    authority.self_signed("own", &["subjectAltName=DNS:oh.example"])?;
    let own = trust(&authority, "own")?;
    let refuses = "ssl_reject_handshake on;";
    let old = "ssl_protocols TLSv1.1; ssl_ciphers DEFAULT@SECLEVEL=0;";
    let ports = serve(&mut lab, &[("own.pem", "own", refuses), ("own.pem", "own", old)])?;
    let refused = reached(&way(ports[0], &own)?).await?;
    assert_eq!(refused, Err(Failure::Tls("received fatal alert: UnrecognisedName".to_owned())));
    let too_old = reached(&way(ports[1], &own)?).await?;
    assert_eq!(too_old, Err(Failure::Tls("received fatal alert: ProtocolVersion".to_owned())));
    let plain = reached(&way(lab.site_port, &own)?).await;
    assert!(plain.is_err(), "nobody listens there: {plain:?}");
    Ok(())
}

#[tokio::test]
async fn the_machine_trusts_no_authority_of_ours() -> Result<()> {
    let mut lab = Lab::plain()?;
    let folder = lab.at("tls");
    fs::create_dir_all(&folder)?;
    let authority = Authority::new(&folder);
    authority.self_signed("root", &[])?;
    authority.signed("good", "root", "9", &["subjectAltName=DNS:oh.example"])?;
    authority.chain("whole.chain", &["good", "root"])?;
    let ports = serve(&mut lab, &[("whole.chain", "good", "")])?;
    let handshake = reached(&way(ports[0], &Trust::of_machine()?)?).await??;
    let issuer = "CN=root".to_owned();
    assert_eq!(handshake.verdict, Err(Distrust::UnknownAuthority { issuer }));
    Ok(())
}
