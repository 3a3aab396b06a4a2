//! Who a cluster is, which topics it has, what they are like; and making them, when asked to.

use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client;
use super::cluster::ClusterConfig;
use super::fault::KafkaFault;
use super::ffi::{self, NoAnswer};
use super::watch::{Detached, Watch};
use crate::edge::{Created, Rights, TopicConfig, TopicIdentity};

/// One question may take so long; a question answered by a cached connection takes 0.2 ms.
const TIMEOUT: Duration = Duration::from_secs(6);

/// One client for questions, kept open: a first question costs a connection.
pub struct Admin {
    zone: String,
    expected: String,
    bootstrap: String,
    client: Arc<Detached<AdminClient<Watch>>>,
}

/// How much of the client's words about a broker is told.
const CAUSE_CHARS_MAX: usize = 300;

/// Clients that somebody of this process has open, by what each was made of.
static SHARED: Mutex<Vec<(MadeOf, Weak<Detached<AdminClient<Watch>>>)>> = Mutex::new(Vec::new());

/// Settings, and the states of the files that a client reads as it is made: one that was made of other
/// certificates, of another password or token is another client.
type MadeOf = (ClusterConfig, Vec<Option<(SystemTime, u64)>>);

fn made_of(cluster: &ClusterConfig) -> MadeOf {
    let state = |file: &Path| {
        let is = std::fs::metadata(file).ok()?;
        Some((is.modified().ok()?, is.ino()))
    };
    (cluster.clone(), cluster.secret_files().into_iter().map(state).collect())
}

impl Admin {
    /// The client that others of this process ask this cluster with, or a first one.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn shared(cluster: &ClusterConfig) -> Result<Self, KafkaFault> {
        let made_of = made_of(cluster);
        let mut all = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, client)| client.strong_count() > 0);
        let known =
            all.iter().find(|(of, _)| *of == made_of).and_then(|(_, client)| client.upgrade());
        if let Some(client) = known {
            return Ok(Self::with(cluster, client));
        }
        let made = Self::open(cluster)?;
        all.push((made_of, Arc::downgrade(&made.client)));
        Ok(made)
    }

    /// A client; reaches nothing yet.
    ///
    /// # Errors
    /// Properties or secrets that no client is made with.
    pub fn open(cluster: &ClusterConfig) -> Result<Self, KafkaFault> {
        let client = Arc::new(client::make(cluster, &client::admin(cluster)?)?);
        Ok(Self::with(cluster, client))
    }

    fn with(cluster: &ClusterConfig, client: Arc<Detached<AdminClient<Watch>>>) -> Self {
        Self {
            zone: cluster.zone.clone(),
            expected: cluster.id.clone(),
            bootstrap: cluster.bootstrap.clone(),
            client,
        }
    }

    pub(super) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The id of the cluster that answers.
    ///
    /// # Errors
    /// `Away` when none does.
    pub fn cluster_id(&self) -> Result<String, KafkaFault> {
        // librdkafka may miss that the id came while it begins to wait, and then waits all the
        // time it was given: so it is asked often, for a short while each time.
        let deadline = Instant::now() + TIMEOUT;
        let (mut id, mut said) = (None, None);
        while id.is_none() && Instant::now() < deadline {
            id = ffi::cluster_id(self.client.inner(), Duration::from_millis(50));
            said = ffi::forget_events(self.client.inner()).or(said);
        }
        let away = || KafkaFault::Away {
            zone: self.zone.clone(),
            what: "asking for the cluster's id",
            code: match said {
                // Addresses and words of the system; of a file's settings it quotes none.
                Some((code, text)) => {
                    let text: String = text.chars().take(CAUSE_CHARS_MAX).collect();
                    format!("at {}: {code:?}: {text}", self.bootstrap)
                }
                None => format!("at {}: OperationTimedOut", self.bootstrap),
            },
        };
        id.ok_or_else(|| self.told(away()))
    }

    /// That the cluster that answers is the one `douane.yaml` names.
    ///
    /// # Errors
    /// `WrongCluster` with both ids, `Away`.
    pub fn confirm_cluster(&self) -> Result<(), KafkaFault> {
        let found = self.cluster_id()?;
        if found == self.expected {
            return Ok(());
        }
        let (zone, expected) = (self.zone.clone(), self.expected.clone());
        Err(KafkaFault::WrongCluster { zone, found, expected })
    }

    /// A topic's identity; `None` where there is no topic of this name. Creates none.
    ///
    /// # Errors
    /// `Away`; `Refused` without the right to describe it.
    pub fn topic(&self, name: &str) -> Result<Option<TopicIdentity>, KafkaFault> {
        Ok(self.topics(&[name])?.pop().flatten())
    }

    /// Several topics' identities in one question, in the order of `names`.
    ///
    /// # Errors
    /// As [`Self::topic`]; one refused name refuses all.
    pub fn topics(&self, names: &[&str]) -> Result<Vec<Option<TopicIdentity>>, KafkaFault> {
        let found = self.describe(names, false)?;
        Ok(found.into_iter().map(|topic| topic.map(|(identity, _)| identity)).collect())
    }

    /// What the broker says that this client may do with a topic; `None` where there is no such
    /// topic, or the broker does not say.
    ///
    /// # Errors
    /// As [`Self::topic`].
    pub fn rights(&self, name: &str) -> Result<Option<Rights>, KafkaFault> {
        let found = self.describe(&[name], true)?.pop().flatten();
        Ok(found.and_then(|(_, rights)| rights))
    }

    /// A client that does not get through may never do so again (see [`super::pulse`]): nobody else is given it.
    fn told(&self, fault: KafkaFault) -> KafkaFault {
        if fault.is_away() {
            let mut all = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|(_, client)| !std::ptr::eq(client.as_ptr(), Arc::as_ptr(&self.client)));
        }
        fault
    }

    fn describe(
        &self,
        names: &[&str],
        with_rights: bool,
    ) -> Result<Vec<Option<ffi::Described>>, KafkaFault> {
        const WHAT: &str = "describing topics";
        let found = ffi::describe_topics(self.client.inner(), names, with_rights, TIMEOUT);
        ffi::forget_events(self.client.inner());
        found.map_err(|no| match no {
            NoAnswer::Code(code) => {
                self.told(KafkaFault::of(&self.zone, WHAT, &KafkaError::AdminOp(code)))
            }
            NoAnswer::Malformed(problem) => {
                KafkaFault::Answer { zone: self.zone.clone(), what: WHAT, problem }
            }
        })
    }

    /// The names of all topics that this client may see.
    ///
    /// # Errors
    /// `Away`.
    pub fn names(&self) -> Result<Vec<String>, KafkaFault> {
        let found = self.client.inner().fetch_metadata(None, TIMEOUT);
        ffi::forget_events(self.client.inner());
        let found = found.map_err(|e| KafkaFault::of(&self.zone, "listing topics", &e))?;
        Ok(found.topics().iter().map(|topic| topic.name().to_owned()).collect())
    }

    /// A topic's settings.
    ///
    /// # Errors
    /// `NoTopic`, `Away`; `Refused` without the right to describe settings.
    pub fn topic_config(&self, name: &str) -> Result<TopicConfig, KafkaFault> {
        const WHAT: &str = "describing a topic's settings";
        let specifier = [ResourceSpecifier::Topic(name)];
        let options = options();
        let answer = wait(self.client.describe_configs(&specifier, &options));
        ffi::forget_events(self.client.inner());
        let mut answer = answer.map_err(|e| KafkaFault::of(&self.zone, WHAT, &e))?;
        match answer.pop() {
            // The wrapper passes over the topic's own error code and gives no settings.
            Some(Ok(resource)) if resource.entries.is_empty() => match self.topic(name)? {
                None => {
                    Err(KafkaFault::NoTopic { zone: self.zone.clone(), topic: name.to_owned() })
                }
                Some(_) => Err(KafkaFault::Refused {
                    zone: self.zone.clone(),
                    what: WHAT,
                    code: "none given; is the right DescribeConfigs missing?".to_owned(),
                }),
            },
            Some(Ok(resource)) => topic_config(&resource).map_err(|problem| KafkaFault::Answer {
                zone: self.zone.clone(),
                what: WHAT,
                problem,
            }),
            Some(Err(code)) => Err(KafkaFault::of(&self.zone, WHAT, &KafkaError::AdminOp(code))),
            None => Err(KafkaFault::Answer {
                zone: self.zone.clone(),
                what: WHAT,
                problem: "no answer for the topic",
            }),
        }
    }

    /// Makes a topic with these settings (`cleanup.policy`, …), or finds that it is there, whatever
    /// its settings are. Only `doctor --create` asks for this.
    ///
    /// # Errors
    /// `Away`; `Refused` where the broker takes the name or the settings for wrong.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: i32,
        settings: &[(&str, &str)],
    ) -> Result<Created, KafkaFault> {
        const WHAT: &str = "making a topic";
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
        for (setting, value) in settings {
            topic = topic.set(setting, value);
        }
        let topics = [topic];
        let options = options();
        let answer = wait(self.client.create_topics(&topics, &options));
        ffi::forget_events(self.client.inner());
        match answer.map_err(|e| KafkaFault::of(&self.zone, WHAT, &e))?.pop() {
            Some(Ok(_)) => Ok(Created::Made),
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(Created::Existed),
            Some(Err((_, code))) => {
                Err(KafkaFault::of(&self.zone, WHAT, &KafkaError::AdminOp(code)))
            }
            None => Err(KafkaFault::Answer {
                zone: self.zone.clone(),
                what: WHAT,
                problem: "no answer for the topic",
            }),
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}

fn topic_config(resource: &ConfigResource) -> Result<TopicConfig, &'static str> {
    let text = |name: &str| resource.get(name).and_then(|entry| entry.value.clone());
    fn number<T: std::str::FromStr>(text: &str) -> Result<T, &'static str> {
        text.parse().map_err(|_| "a setting is no number in range")
    }
    Ok(TopicConfig {
        max_message_bytes: number(
            &text("max.message.bytes").ok_or("`max.message.bytes` is missing")?,
        )?,
        min_insync_replicas: text("min.insync.replicas").as_deref().map(number).transpose()?,
        cleanup_policy: text("cleanup.policy").ok_or("`cleanup.policy` is missing")?,
        retention_ms: number(&text("retention.ms").ok_or("`retention.ms` is missing")?)?,
        retention_bytes: text("retention.bytes").as_deref().map(number).transpose()?,
        timestamp_type: text("message.timestamp.type"),
    })
}

/// Waits for one of the wrapper's futures on this thread: it is woken by the client's own.
fn wait<T>(answer: impl Future<Output = Result<T, KafkaError>>) -> Result<T, KafkaError> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut answer = pin!(answer);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    // The client ends each request at its timeout; this bound is for a client that does not.
    let deadline = Instant::now() + TIMEOUT + Duration::from_secs(2);
    loop {
        if let Poll::Ready(answer) = answer.as_mut().poll(&mut context) {
            return answer;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(KafkaError::Canceled);
        }
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::admin::{ConfigEntry, ConfigSource, OwnedResourceSpecifier};

    use super::super::cluster::{Sasl, SaslMechanism, plain};
    use super::*;

    #[test]
    fn a_setting_that_a_broker_leaves_out_is_missed_where_it_is_needed() {
        const ALL: [(&str, &str); 6] = [
            ("max.message.bytes", "1048588"),
            ("cleanup.policy", "delete"),
            ("retention.ms", "-1"),
            ("min.insync.replicas", "2"),
            ("retention.bytes", "-1"),
            ("message.timestamp.type", "CreateTime"),
        ];
        let config = |settings: &[(&str, &str)]| {
            let entry = |(name, value): &(&str, &str)| ConfigEntry {
                name: (*name).to_owned(),
                value: Some((*value).to_owned()),
                source: ConfigSource::Default,
                is_read_only: false,
                is_default: true,
                is_sensitive: false,
            };
            let specifier = OwnedResourceSpecifier::Topic("t".to_owned());
            let entries = settings.iter().map(entry).collect();
            topic_config(&ConfigResource { specifier, entries })
        };
        let whole = config(&ALL).unwrap();
        let told = (whole.min_insync_replicas, whole.retention_bytes, whole.timestamp_type);
        assert_eq!(told, (Some(2), Some(-1), Some("CreateTime".to_owned())));
        let least = config(&ALL[..3]).unwrap();
        let told = (least.min_insync_replicas, least.retention_bytes, least.timestamp_type);
        assert_eq!(told, (None, None, None));
        assert_eq!((least.max_message_bytes, least.retention_ms), (1_048_588, -1));
        for needed in &ALL[..3] {
            let others: Vec<_> = ALL.into_iter().filter(|setting| setting != needed).collect();
            let said = config(&others).unwrap_err();
            assert_eq!(said, format!("`{}` is missing", needed.0));
        }
        // What is there is what it must be, also where it might be left out.
        let mut bad = ALL;
        bad[3].1 = "many";
        assert_eq!(config(&bad).unwrap_err(), "a setting is no number in range");
    }

    #[test]
    fn a_name_with_a_zero_byte_bad_name() {
        let admin = Admin::open(&plain("127.0.0.1:1")).unwrap();
        let fault = admin.topic("a\0b").unwrap_err();
        assert!(matches!(fault, KafkaFault::Answer { .. }), "{fault}");
    }

    #[test]
    fn who_does_not_answer_is_told_with_address_and_cause() {
        let cluster = plain("127.0.0.1:1");
        let fault = Admin::open(&cluster).unwrap().cluster_id().unwrap_err();
        assert!(fault.is_away());
        let said = fault.to_string();
        for part in ["at 127.0.0.1:1: BrokerTransportFailure: ", "refused", "is it up"] {
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn looks_of_one_process_share_a_client_while_it_is_made_of_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        let write = |password: &str| {
            let new = dir.path().join("new");
            std::fs::write(&new, password).unwrap();
            std::fs::rename(new, &file).unwrap();
        };
        write("one");
        let mut cluster = plain("127.0.0.1:1");
        cluster.sasl = Some(Sasl {
            mechanism: SaslMechanism::ScramSha256,
            username: Some("u".to_owned()),
            password_file: Some(file.clone()),
            token_file: None,
        });
        let first = Admin::shared(&cluster).unwrap();
        let same = |other: &Admin| Arc::ptr_eq(&first.client, &other.client);
        assert!(same(&Admin::shared(&cluster).unwrap()));
        // Controls: one of its own, other settings, another password.
        assert!(!same(&Admin::open(&cluster).unwrap()));
        let mut other = cluster.clone();
        other.bootstrap = "127.0.0.1:2".to_owned();
        assert!(!same(&Admin::shared(&other).unwrap()));
        write("two");
        assert!(!same(&Admin::shared(&cluster).unwrap()));
        // The last one who asks closes it.
        let gone = Arc::downgrade(&first.client);
        drop(first);
        assert!(gone.upgrade().is_none());
    }

    #[test]
    fn a_client_that_reached_nobody_is_given_to_nobody_else() {
        let cluster = plain("127.0.0.1:3");
        let first = Admin::shared(&cluster).unwrap();
        let same = |other: &Admin| Arc::ptr_eq(&first.client, &other.client);
        assert!(same(&Admin::shared(&cluster).unwrap()), "the control");
        assert!(first.topic("t").unwrap_err().is_away());
        let next = Admin::shared(&cluster).unwrap();
        assert!(!same(&next) && !same(&Admin::shared(&cluster).unwrap()));
    }

    #[test]
    fn waiting_ends_when_another_thread_answers() {
        struct Later(Arc<std::sync::Mutex<(bool, Option<Waker>)>>);
        impl Future for Later {
            type Output = Result<u8, KafkaError>;
            fn poll(
                self: std::pin::Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<Self::Output> {
                let mut state = self.0.lock().unwrap();
                state.1 = Some(context.waker().clone());
                if state.0 { Poll::Ready(Ok(7)) } else { Poll::Pending }
            }
        }
        let state = Arc::new(std::sync::Mutex::new((false, None::<Waker>)));
        let other = Arc::clone(&state);
        let answering = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            let mut state = other.lock().unwrap();
            state.0 = true;
            if let Some(waker) = state.1.take() {
                waker.wake();
            }
        });
        assert_eq!(wait(Later(state)), Ok(7));
        answering.join().unwrap();
    }
}
