//! The proxies do to real servers what their rules say, and nothing else. Needs `logwise-testbed up`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::command::{command, output};
use logwise_testbed::kafka::client_config;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::proxy::kubernetes::KubernetesProxy;
use logwise_testbed::proxy::listener::CountingListener;
use logwise_testbed::proxy::rules::{Action, Rule};
use logwise_testbed::proxy::tcp::{Direction, TcpProxy};
use logwise_testbed::topics;
use logwise_testbed::world::{World, wait_until};
use rdkafka::consumer::{BaseConsumer, Consumer};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LONG: Duration = Duration::from_secs(60);
const LOOPBACK: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A client of the API server that speaks through a proxy, with a token of the world's own.
struct Client {
    http: reqwest::Client,
    maps: String,
    token: String,
}

impl Client {
    async fn new(world: &World, proxy: &KubernetesProxy) -> Result<Client> {
        world.kubectl(&["create", "serviceaccount", "tester"]).await?;
        let subject = format!("--serviceaccount={}:tester", world.namespace);
        world.kubectl(&["create", "rolebinding", "tester", "--clusterrole=edit", &subject]).await?;
        let token = world.kubectl(&["create", "token", "tester"]).await?.trim().to_owned();
        let maps = format!("{}/api/v1/namespaces/{}/configmaps", proxy.url, world.namespace);
        let client = Client {
            http: reqwest::Client::builder().no_proxy().user_agent("kubectl-of-a-test").build()?,
            maps,
            token,
        };
        // Rights reach the API server's own view a moment later.
        wait_until("the tester's rights", LONG, async || {
            let answer = client.ask(Method::GET, "").send().await?;
            ensure!(answer.status() == 200, "{}", answer.status());
            Ok(())
        })
        .await?;
        Ok(client)
    }

    fn ask(&self, method: Method, rest: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{rest}", self.maps)).bearer_auth(&self.token)
    }

    fn create(&self, name: &str) -> reqwest::RequestBuilder {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        self.ask(Method::POST, "").json(&map)
    }

    async fn watch(&self, mark: u32) -> Result<Watch> {
        let rest = format!("?watch=true&allowWatchBookmarks=true&timeoutSeconds={mark}");
        Ok(Watch { answer: self.ask(Method::GET, &rest).send().await?.error_for_status()?, rest: String::new() })
    }
}

struct Watch {
    answer: Response,
    rest: String,
}

impl Watch {
    /// The next event about a ConfigMap of the test, as `TYPE name`, or an error event's code.
    async fn next(&mut self) -> Result<String> {
        loop {
            if let Some((line, rest)) = self.rest.split_once('\n') {
                let event: Value = serde_json::from_str(line)?;
                self.rest = rest.to_owned();
                let (kind, name) = (event["type"].as_str().unwrap_or_default(), &event["object"]["metadata"]["name"]);
                if kind == "ERROR" {
                    return Ok(format!("ERROR {}", event["object"]["code"]));
                }
                if kind != "BOOKMARK" && name != "kube-root-ca.crt" {
                    return Ok(format!("{kind} {}", name.as_str().unwrap_or_default()));
                }
                continue;
            }
            let chunk = tokio::time::timeout(LONG, self.answer.chunk()).await??.context("the watch ended")?;
            self.rest.push_str(std::str::from_utf8(&chunk)?);
        }
    }
}

async fn exists(world: &World, name: &str) -> bool {
    world.get_json("configmap", name).await.is_ok()
}

#[tokio::test]
async fn everything_passes_and_is_filed() -> Result<()> {
    let world = World::new(&Bed::attach()?, "passes").await?;
    let proxy = world.kubernetes_proxy().await?;
    let client = Client::new(&world, &proxy).await?;
    let from = proxy.now();
    assert_eq!(client.create("a").send().await?.status(), 201);
    assert_eq!(client.create("a").send().await?.status(), 409, "the real answer of the server");
    let read: Value = client.ask(Method::GET, "/a").send().await?.json().await?;
    assert_eq!(read["metadata"]["name"], "a");
    let nobody = reqwest::Client::builder().no_proxy().build()?.get(&client.maps).send().await?;
    assert_eq!(nobody.status(), 403, "the proxy adds no rights of its own");
    let filed = proxy.requests().into_iter().filter(|request| request.seq >= from);
    let filed: Vec<_> =
        filed.map(|one| (one.method.clone(), one.status, one.mutating, one.took_effect(), one.faults.len())).collect();
    let wanted =
        [("POST", 201, true, true), ("POST", 409, true, false), ("GET", 200, false, false), ("GET", 403, false, false)];
    assert_eq!(filed, wanted.map(|(method, status, writes, done)| (method.to_owned(), Some(status), writes, done, 0)));
    Ok(())
}

#[tokio::test]
async fn answers_are_injected_and_nothing_is_done() -> Result<()> {
    let world = World::new(&Bed::attach()?, "answers").await?;
    let proxy = world.kubernetes_proxy().await?;
    let client = Client::new(&world, &proxy).await?;
    let rule = Rule::new("/configmaps$", Action::too_many_requests(7))?.method("POST");
    let busy = proxy.add(rule.after(1));
    assert_eq!(client.create("first").send().await?.status(), 201, "one passes first");
    let refused = client.create("second").send().await?;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str()?), (429, "7"));
    let status: Value = refused.json().await?;
    assert_eq!(
        (&status["kind"], &status["code"], &status["reason"]),
        (&json!("Status"), &json!(429), &json!("TooManyRequests"))
    );
    assert!(!exists(&world, "second").await && proxy.hits(busy) == 1);
    assert_eq!(client.create("second").send().await?.status(), 201, "the rule was for one request");
    for code in [409, 500, 503, 504] {
        let rule = proxy.add(Rule::new("/configmaps", Action::answer(code, "Injected"))?.writes().times(0));
        assert_eq!(client.create("third").send().await?.status(), code);
        assert_eq!(client.ask(Method::DELETE, "/first").send().await?.status(), code);
        assert_eq!(client.ask(Method::GET, "/first").send().await?.status(), 200, "a read is no write");
        proxy.remove(rule);
    }
    assert!(exists(&world, "first").await && !exists(&world, "third").await);
    Ok(())
}

#[tokio::test]
async fn requests_and_answers_get_lost() -> Result<()> {
    let world = World::new(&Bed::attach()?, "lost").await?;
    let proxy = world.kubernetes_proxy().await?;
    let client = Client::new(&world, &proxy).await?;
    proxy.add(Rule::new("/configmaps", Action::DropBefore)?.writes());
    assert!(client.create("never").send().await.is_err());
    proxy.add(Rule::new("/configmaps", Action::DropAnswer)?.writes());
    assert!(client.create("done").send().await.is_err());
    proxy.add(Rule::new("/configmaps/done", Action::CutBody(10))?);
    let cut = client.ask(Method::GET, "/done").send().await?;
    assert_eq!(cut.status(), 200);
    assert!(cut.bytes().await.is_err(), "the body was whole");
    assert!(!exists(&world, "never").await && exists(&world, "done").await);
    let spoiled: Vec<_> = proxy.requests().into_iter().filter(|request| !request.faults.is_empty()).collect();
    let (statuses, done): (Vec<_>, Vec<_>) = spoiled.iter().map(|one| (one.status, one.done)).unzip();
    assert_eq!((statuses, done), (vec![None, None, Some(200)], vec![None, Some(201), Some(200)]));
    assert_eq!(spoiled.iter().filter(|one| one.took_effect()).count(), 1);
    Ok(())
}

#[tokio::test]
async fn a_late_write_is_done_after_its_sender_gave_up() -> Result<()> {
    let world = World::new(&Bed::attach()?, "late").await?;
    let proxy = world.kubernetes_proxy().await?;
    let client = Client::new(&world, &proxy).await?;
    proxy.add(Rule::new("/configmaps", Action::Delay(Duration::from_secs(2)))?.writes());
    let late = client.create("late").timeout(Duration::from_millis(200)).send().await;
    assert!(late.unwrap_err().is_timeout());
    wait_until("the late object", LONG, async || {
        ensure!(exists(&world, "late").await, "it is not there");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn frozen_requests_arrive_when_it_thaws_and_old_answers_are_given() -> Result<()> {
    let world = World::new(&Bed::attach()?, "freeze").await?;
    let proxy = world.kubernetes_proxy().await?;
    let client = Client::new(&world, &proxy).await?;
    let (ice, from) = (proxy.add(Rule::new("/configmaps", Action::Freeze)?), proxy.now());
    let given_up = client.create("late").timeout(Duration::from_millis(300)).send().await;
    assert!(given_up.unwrap_err().is_timeout());
    let asked = tokio::spawn(client.ask(Method::GET, "/late").send());
    assert!(!exists(&world, "late").await && !asked.is_finished(), "it is not frozen");
    proxy.remove(ice);
    assert!([200, 404].contains(&asked.await??.status().as_u16()), "the read came before or after the write");
    wait_until("the write whose sender has given up", LONG, async || {
        ensure!(exists(&world, "late").await, "it is not there");
        Ok(())
    })
    .await?;
    proxy.add(Rule::new("/configmaps/late$", Action::Reply("{\"kind\":\"Old\"}".to_owned()))?);
    let old: Value = client.ask(Method::GET, "/late").send().await?.json().await?;
    let new: Value = client.ask(Method::GET, "/late").send().await?.json().await?;
    assert_eq!((&old["kind"], &new["kind"]), (&json!("Old"), &json!("ConfigMap")));
    let filed: Vec<_> = proxy.requests().into_iter().filter(|one| one.seq >= from).collect();
    assert_eq!((filed[2].status, filed[2].done), (Some(200), None), "an old answer is not the server's");
    Ok(())
}

#[tokio::test]
async fn a_held_watch_is_silent_and_goes_on_when_released() -> Result<()> {
    let world = World::new(&Bed::attach()?, "hold").await?;
    let proxy = world.kubernetes_proxy().await?;
    let client = Client::new(&world, &proxy).await?;
    let (mut held, mut free) = (client.watch(301).await?, client.watch(302).await?);
    let rule = proxy.add(Rule::new("timeoutSeconds=30[13]", Action::Hold)?);
    let mut later = client.watch(303).await?;
    client.create("a").send().await?.error_for_status()?;
    assert_eq!(free.next().await?, "ADDED a");
    assert_eq!(proxy.running_watches("timeoutSeconds=30"), 3, "none was closed");
    for silent in [&mut held, &mut later] {
        let word = tokio::time::timeout(Duration::from_secs(1), silent.next()).await;
        assert!(word.is_err(), "a held watch said {word:?}");
    }
    proxy.remove(rule);
    assert_eq!((held.next().await?, later.next().await?), ("ADDED a".to_owned(), "ADDED a".to_owned()));
    Ok(())
}

#[tokio::test]
async fn watches_are_cut_expire_and_lose_events() -> Result<()> {
    let world = World::new(&Bed::attach()?, "watches").await?;
    let proxy = world.kubernetes_proxy().await?;
    let client = Client::new(&world, &proxy).await?;
    let (mut one, mut two, mut three) = (client.watch(301).await?, client.watch(302).await?, client.watch(303).await?);
    let cut = proxy.add(Rule::new("timeoutSeconds=301", Action::Cut)?.running());
    assert!(one.next().await.is_err());
    let gone = proxy.add(Rule::new("timeoutSeconds=302", Action::Gone)?);
    assert_eq!(two.next().await?, "ERROR 410");
    assert!(two.next().await.is_err(), "it goes on after 410");
    assert_eq!((proxy.hits(cut), proxy.hits(gone)), (1, 1));
    client.watch(301).await.context("a watch that begins after the cut of running ones")?;
    proxy.add(Rule::new("timeoutSeconds=304", Action::Gone)?);
    let error = client.watch(304).await.err().context("a watch began although it expired")?;
    assert!(error.to_string().contains("410"), "{error}");
    let skip = proxy.add(Rule::new("timeoutSeconds=303", Action::SkipEvents(2))?);
    wait_until("the skip to reach the watch", LONG, async || {
        ensure!(proxy.hits(skip) == 1, "no hit");
        Ok(())
    })
    .await?;
    for name in ["a", "b", "c"] {
        client.create(name).send().await?.error_for_status()?;
    }
    assert_eq!(three.next().await?, "ADDED c");
    Ok(())
}

#[tokio::test]
async fn an_operator_works_behind_the_proxy_and_can_stand_still() -> Result<()> {
    let world = World::new(&Bed::attach()?, "behind").await?;
    let proxy = world.kubernetes_proxy().await?;
    let mut first = Operator::start(&world, Options::default().behind(&proxy)).await?;
    first.wait_ready().await?;
    wait_until("its watches", LONG, async || {
        ensure!(proxy.running_watches("logwiseclusters") > 0, "{:?}", proxy.requests());
        Ok(())
    })
    .await?;
    let mut second = Operator::start(&world, Options::default()).await?;
    second.wait_ready().await?;
    first.pause().await?;
    assert!(first.alive());
    let answer = tokio::time::timeout(Duration::from_secs(1), first.http("/livez")).await;
    assert!(!matches!(answer, Ok(Ok(_))), "it answers while it stands still");
    assert_eq!(second.http("/livez").await?.0, 200, "the other one stands still too");
    first.resume().await?;
    assert_eq!(first.http("/livez").await?.0, 200);
    assert_eq!(first.stop().await?, 0, "{}", first.log()?);
    Ok(())
}

/// Answers every connection with what it gets.
async fn echo() -> Result<String> {
    let listener = TcpListener::bind((LOOPBACK, 0)).await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    Ok(address)
}

/// Says a word and returns the same number of bytes.
async fn say(stream: &mut TcpStream, word: &str) -> std::io::Result<String> {
    stream.write_all(word.as_bytes()).await?;
    let mut answer = vec![0; word.len()];
    stream.read_exact(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn bytes_pass_are_counted_and_come_late() -> Result<()> {
    let proxy = TcpProxy::start(LOOPBACK, &echo().await?).await?;
    let mut stream = TcpStream::connect(&proxy.address).await?;
    assert_eq!(say(&mut stream, "hello").await?, "hello");
    let counts = proxy.counts();
    assert_eq!((counts.connections, counts.open, counts.to_server, counts.to_client), (1, 1, 5, 5));
    proxy.delay(Duration::from_millis(300), Duration::from_millis(200));
    let begin = Instant::now();
    assert_eq!(say(&mut stream, "late").await?, "late");
    assert!(begin.elapsed() >= Duration::from_millis(500), "{:?}", begin.elapsed());
    stream.shutdown().await?;
    assert_eq!(stream.read(&mut [0; 8]).await?, 0, "the end passes too");
    Ok(())
}

#[tokio::test]
async fn a_half_open_connection_neither_answers_nor_ends() -> Result<()> {
    let proxy = TcpProxy::start(LOOPBACK, &echo().await?).await?;
    let mut stream = TcpStream::connect(&proxy.address).await?;
    proxy.hold(Direction::ToClient);
    let silent = tokio::time::timeout(Duration::from_millis(500), say(&mut stream, "abc")).await;
    assert!(silent.is_err(), "{silent:?}");
    assert_eq!((proxy.counts().to_server, proxy.counts().to_client), (3, 0), "the request went through");
    proxy.hold(Direction::Both);
    let mut new = TcpStream::connect(&proxy.address).await.context("a half-open port accepts")?;
    let silent = tokio::time::timeout(Duration::from_millis(500), say(&mut new, "def")).await;
    assert!(silent.is_err() && proxy.counts().to_server == 3, "{silent:?}");
    proxy.heal().await?;
    let mut answer = [0; 3];
    stream.read_exact(&mut answer).await?;
    new.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"def");
    Ok(())
}

#[tokio::test]
async fn connections_are_reset_and_refused() -> Result<()> {
    let proxy = TcpProxy::start(LOOPBACK, &echo().await?).await?;
    let mut stream = TcpStream::connect(&proxy.address).await?;
    assert_eq!(say(&mut stream, "before").await?, "before");
    proxy.reset_after(Direction::ToClient, 4);
    let error = say(&mut stream, "after").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!((proxy.counts().to_server, proxy.counts().to_client), (11, 10));
    let mut idle = {
        proxy.heal().await?;
        TcpStream::connect(&proxy.address).await?
    };
    assert_eq!(say(&mut idle, "x").await?, "x");
    proxy.reset_after(Direction::Both, 0);
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    proxy.heal().await?;
    let mut open = TcpStream::connect(&proxy.address).await?;
    assert_eq!(say(&mut open, "y").await?, "y");
    proxy.refuse().await?;
    assert!(open.read(&mut [0; 1]).await.is_err());
    let error = TcpStream::connect(&proxy.address).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(proxy.counts().open, 0);
    proxy.heal().await?;
    assert_eq!(say(&mut TcpStream::connect(&proxy.address).await?, "again").await?, "again");
    Ok(())
}

#[tokio::test]
async fn kafka_clients_stay_with_the_proxy() -> Result<()> {
    const PRODUCE: i16 = 0;
    const CREATE_TOPICS: i16 = 19;
    let world = World::new(&Bed::attach()?, "kafkaproxy").await?;
    let proxy = world.kafka_proxy().await?;
    let topic = world.topic("web");
    topics::create(&proxy.address, &topic, 2).await?;
    topics::produce(&proxy.address, &topic, 50, false).await?;
    assert_eq!(topics::end_offsets(&world.bed.kafka.bootstrap, &topic).await?, 50);
    let requests = proxy.requests();
    let count = |kind: i16| requests.get(&kind).copied().unwrap_or_default();
    assert_eq!(count(CREATE_TOPICS), 1, "{requests:?}");
    assert!(count(PRODUCE) > 0, "records went past the proxy: {requests:?}");
    let ask = async |within: Duration| {
        let mut config = client_config(&proxy.address);
        config.set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
        let look = move || -> Result<Vec<i32>> {
            let client: BaseConsumer = config.create()?;
            Ok(client.fetch_metadata(None, within)?.brokers().iter().map(|broker| broker.port()).collect())
        };
        tokio::task::spawn_blocking(look).await?
    };
    let port: i32 = proxy.address.rsplit_once(':').context("an address")?.1.parse()?;
    assert_eq!(ask(LONG).await?, [port], "the broker names itself");
    proxy.hold(Direction::ToClient);
    assert!(ask(Duration::from_secs(2)).await.is_err());
    proxy.heal().await?;
    assert_eq!(ask(LONG).await?, [port]);
    Ok(())
}

#[tokio::test]
async fn the_database_is_reached_through_its_proxy_or_not() -> Result<()> {
    let world = World::new(&Bed::attach()?, "sqlproxy").await?;
    let proxy = world.database_proxy().await?;
    let url = world.bed.sql.url("s");
    assert!(proxy.instead(&url).ends_with(&format!("@{}/s", proxy.address)) && !url.contains(&proxy.address));
    let ask = async || {
        let (host, port) = proxy.address.split_once(':').context("an address")?;
        let args = [&format!("--host={host}"), &format!("--port={port}"), "-Ne", "SELECT 41 + 1"];
        output(command(world.bed.dir.join("bin/sql"), args), LONG).await
    };
    assert_eq!(ask().await?.trim(), "42");
    proxy.reset_after(Direction::ToClient, 1);
    assert!(ask().await.is_err());
    proxy.refuse().await?;
    assert!(ask().await.is_err());
    proxy.heal().await?;
    assert_eq!(ask().await?.trim(), "42");
    Ok(())
}

#[tokio::test]
async fn a_listener_counts_and_says_who_came() -> Result<()> {
    let silent = CountingListener::start(LOOPBACK, None).await?;
    silent.untouched()?;
    let mut stream = TcpStream::connect(silent.address).await?;
    stream.write_all(b"GET / HTTP/1.1\r\n").await?;
    wait_until("sixteen bytes", LONG, async || {
        ensure!(silent.bytes() == 16, "{}", silent.bytes());
        Ok(())
    })
    .await?;
    assert_eq!(silent.connections(), 1);
    let error = silent.untouched().unwrap_err().to_string();
    assert!(error.starts_with("1 connections to 127.0.0.1:") && error.contains("GET / HTTP/1.1"), "{error}");
    assert!(tokio::time::timeout(Duration::from_millis(300), stream.read(&mut [0; 1])).await.is_err(), "it answers");
    let polite = CountingListener::start(LOOPBACK, Some("no")).await?;
    let mut stream = TcpStream::connect(polite.address).await?;
    stream.write_all(b"?").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert_eq!((answer.as_str(), polite.connections(), polite.bytes()), ("no", 1, 1));
    Ok(())
}

#[test]
fn a_broken_path_expression_is_named() {
    let error = Rule::new("(", Action::Cut).unwrap_err().to_string();
    assert_eq!(error, "reading the path expression \"(\" of a rule");
}
