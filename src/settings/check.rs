//! Checks that need more than one key, or more than a type.

use std::net::{IpAddr, SocketAddr};

use secrecy::ExposeSecret;

use super::{EmbeddingsProvider, Provider, Settings, tenants};

/// Every fault, one line each, naming the key.
pub(super) fn faults(settings: &Settings) -> Vec<String> {
    let mut faults = Vec::new();
    http(settings, &mut faults);
    queue(settings, &mut faults);
    bounds(settings, &mut faults);
    routing(settings, &mut faults);
    urls(settings, &mut faults);
    faults.extend(settings.store.faults());
    if let Err(fault) = auth_profiles(settings) {
        faults.push(fault);
    }
    faults
}

fn http(settings: &Settings, faults: &mut Vec<String>) {
    let bind = settings.http.bind.replace("localhost", "127.0.0.1");
    let Ok(address) = bind.parse::<SocketAddr>() else {
        faults.push(format!("http.bind: must be address:port like 127.0.0.1:8082, found {:?}", settings.http.bind));
        return;
    };
    tenants::faults(&settings.http, faults);
    let open = !is_loopback(address.ip());
    if open && !settings.http.has_tokens() && !settings.http.allow_anonymous {
        faults.push(format!(
            "http.bind: {address} is reachable from other machines: set http.token (AGENT_RUNNER_TOKEN), or http.allow_anonymous: true"
        ));
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn queue(settings: &Settings, faults: &mut Vec<String>) {
    let queue = &settings.queue;
    let word = |text: &str| {
        !text.is_empty() && text.len() <= 200 && !text.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    if !word(&queue.prefix) {
        faults.push("queue.prefix: must be 1 to 200 characters without spaces".into());
    }
    for (i, list) in queue.lists.iter().enumerate() {
        if !word(&list.name) {
            faults.push(format!("queue.lists[{i}].name: must be 1 to 200 characters without spaces"));
        }
        if list.weight == 0 {
            faults.push(format!("queue.lists[{i}].weight: must be at least 1"));
        }
    }
    if queue.intake.is_empty() {
        faults.push("queue.intake: must name at least one of list, stream".into());
    }
    if queue.renew_secs * 2 > queue.lease_secs {
        faults.push(format!(
            "queue.renew_secs: {} s is more than half of queue.lease_secs ({} s): one lost renewal would lose the job",
            queue.renew_secs, queue.lease_secs
        ));
    }
}

fn bounds(settings: &Settings, faults: &mut Vec<String>) {
    let at_least_one: &[(&str, u64)] = &[
        ("http.max_body_bytes", settings.http.max_body_bytes as u64),
        ("http.header_timeout_secs", settings.http.header_timeout_secs),
        ("http.body_timeout_secs", settings.http.body_timeout_secs),
        ("http.max_connections", settings.http.max_connections as u64),
        ("queue.lease_secs", settings.queue.lease_secs),
        ("queue.renew_secs", settings.queue.renew_secs),
        ("queue.sweep_secs", settings.queue.sweep_secs),
        ("queue.block_secs", settings.queue.block_secs),
        ("queue.claim_batch", settings.queue.claim_batch as u64),
        ("queue.max_crashes", settings.queue.max_crashes.into()),
        ("worker.concurrency", settings.worker.concurrency as u64),
        ("worker.default_timeout_secs", settings.worker.default_timeout_secs),
        ("worker.max_job_bytes", settings.worker.max_job_bytes as u64),
        ("retry.max_attempts", settings.retry.max_attempts.into()),
        ("results.ttl_secs", settings.results.ttl_secs),
        ("llm.max_turns", settings.llm.max_turns.into()),
        ("llm.timeout_secs", settings.llm.timeout_secs),
        ("llm.connect_timeout_secs", settings.llm.connect_timeout_secs),
        ("llm.first_token_timeout_secs", settings.llm.first_token_timeout_secs),
        ("llm.idle_timeout_secs", settings.llm.idle_timeout_secs),
        ("llm.max_tokens", settings.llm.max_tokens.into()),
        ("breaker.failures", settings.breaker.failures.into()),
        ("embeddings.batch", settings.embeddings.batch as u64),
        ("telemetry.otlp_interval_secs", settings.telemetry.otlp_interval_secs),
        ("routing.qdrant.limit", settings.routing.qdrant.limit as u64),
        ("pipeline.max_steps", settings.pipeline.max_steps as u64),
        ("tiers.num_tiers", settings.tiers.num_tiers.into()),
    ];
    for (key, value) in at_least_one {
        if *value == 0 {
            faults.push(format!("{key}: must be at least 1"));
        }
    }
    let at_most: &[(&str, u64, u64)] = &[
        ("worker.concurrency", settings.worker.concurrency as u64, 100_000),
        ("queue.claim_batch", settings.queue.claim_batch as u64, 256),
        ("queue.lease_secs", settings.queue.lease_secs, 3600),
        ("routing.qdrant.limit", settings.routing.qdrant.limit as u64, 1000),
    ];
    for (key, value, most) in at_most {
        if value > most {
            faults.push(format!("{key}: must be at most {most}, found {value}"));
        }
    }
    for (key, value) in [
        ("intent.rules_threshold", settings.intent.rules_threshold),
        ("intent.constrain_threshold", settings.intent.constrain_threshold),
        ("telemetry.otlp_sample_ratio", settings.telemetry.otlp_sample_ratio),
    ] {
        if !(0.0..=1.0).contains(&value) {
            faults.push(format!("{key}: must lie between 0 and 1, found {value}"));
        }
    }
    let daily = settings.llm.owner_daily_cost_usd;
    if !daily.is_finite() || daily < 0.0 {
        faults.push(format!("llm.owner_daily_cost_usd: must be 0 or more, found {daily}"));
    }
    if settings.retry.base_ms > settings.retry.max_ms {
        faults.push("retry.base_ms: must not be above retry.max_ms".into());
    }
}

fn routing(settings: &Settings, faults: &mut Vec<String>) {
    if settings.routing.threshold.is_some_and(|t| !(-1.0..=1.0).contains(&t)) {
        faults.push("routing.threshold: must lie between -1 and 1".into());
    }
    if settings.embeddings.provider == EmbeddingsProvider::Local && settings.embeddings.directory.is_none() {
        faults.push("embeddings.directory: must name the directory of the local encoder".into());
    }
    let qdrant = &settings.routing.qdrant;
    if qdrant.url.is_some() && settings.embeddings_provider() == EmbeddingsProvider::Lexical {
        faults
            .push("routing.qdrant.url: a collection holds vectors: set embeddings.provider to openai or local".into());
    }
    if qdrant.collection.trim().is_empty() {
        faults.push("routing.qdrant.collection: must name a collection".into());
    }
}

fn urls(settings: &Settings, faults: &mut Vec<String>) {
    let own = settings.store.redis_url();
    for (key, secret) in [("redis.url", Some(&settings.redis.url)), ("store.url", own)] {
        let address = secret.map(|url| url.expose_secret().to_owned()).unwrap_or("redis://localhost".into());
        let scheme = address.split_once("://").map(|(scheme, rest)| (scheme.split('+').next().unwrap_or(""), rest));
        if !matches!(scheme, Some(("redis" | "rediss", rest)) if !rest.is_empty()) {
            faults.push(format!("{key}: must be like redis://host:6379, rediss://…, redis+sentinel://h1,h2/primary"));
        }
    }
    let llm = &settings.llm;
    if llm.provider == Provider::Openai && llm.api_key.is_none() && llm.base_url.is_none() && llm.models.is_empty() {
        faults.push("llm.provider: openai needs llm.api_key (OPENAI_API_KEY) or llm.base_url (OPENAI_BASE_URL)".into());
    }
    let nobody = settings.embeddings.base_url.is_none() && llm.base_url.is_none();
    let keyless = settings.embeddings.api_key.is_none() && llm.api_key.is_none();
    if settings.embeddings.provider == EmbeddingsProvider::Openai && nobody && keyless {
        faults.push(
            "embeddings.provider: openai needs embeddings.base_url or embeddings.api_key, or those of llm".into(),
        );
    }
    let mut http_urls = vec![
        ("llm.base_url".to_owned(), &settings.llm.base_url),
        ("embeddings.base_url".to_owned(), &settings.embeddings.base_url),
        ("orchestrator.api_url".to_owned(), &settings.orchestrator.api_url),
        ("routing.qdrant.url".to_owned(), &settings.routing.qdrant.url),
        ("telemetry.otlp_endpoint".to_owned(), &settings.telemetry.otlp_endpoint),
    ];
    for (i, entry) in settings.llm.models.iter().enumerate() {
        if entry.model.is_empty() {
            faults.push(format!("llm.models[{i}].model: must name a model"));
        }
        http_urls.push((format!("llm.models[{i}].base_url"), &entry.base_url));
    }
    for (key, url) in http_urls {
        let Some(url) = url else { continue };
        match url::Url::parse(url) {
            Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => {}
            _ => faults.push(format!("{key}: must be an http:// or https:// address, found {url:?}")),
        }
    }
}

fn auth_profiles(settings: &Settings) -> Result<(), String> {
    for (name, profile) in &settings.egress.auth_profiles {
        let key = format!("egress.auth_profiles.{name}");
        if profile.hosts.is_empty() {
            return Err(format!("{key}.hosts: is empty: name the hosts that may see this credential"));
        }
        for host in &profile.hosts {
            let whole = if host.contains("://") { host.clone() } else { format!("https://{host}") };
            let fits = url::Url::parse(&whole).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https") && url.has_host() && url.path() == "/" && url.query().is_none()
            });
            if !fits || host.contains('*') {
                return Err(format!("{key}.hosts: {host:?} is no host, host:port or http://host"));
            }
        }
        let (pair, login) = (profile.header.is_some(), profile.username.is_some());
        let forms = [profile.bearer.is_some(), pair, login].iter().filter(|given| **given).count();
        if forms != 1 || pair != profile.value.is_some() || login != profile.password.is_some() {
            return Err(format!("{key}: give exactly one of bearer, header with value, or username with password"));
        }
    }
    Ok(())
}
