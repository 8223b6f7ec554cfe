//! What one client has and wants, without I/O: subscriptions, nonces, acknowledgements, and the
//! smallest difference between what it holds and what it should hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use mesh_api::type_url::TypeUrl;

use super::source::{Answer, Item, ItemSet, View, empty};

/// Responses that may wait for their acknowledgement, per type; older ones are forgotten.
const OUTSTANDING: usize = 256;

/// Bytes of resources in one response; a larger difference is sent in several.
pub const RESPONSE_BYTES: usize = 1024 * 1024;

/// Names one client may subscribe to, per type.
pub const MAX_NAMES: usize = 50_000;

/// Types one client may open.
const MAX_TYPES: usize = 32;

/// The longest name a client may ask for.
const MAX_NAME: usize = 1024;

/// How a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    /// It subscribes by name, and is sent what its names refer to as well.
    pub on_demand: bool,
    /// State of the world: sets of clusters and listeners are always whole.
    pub state_of_the_world: bool,
}

/// A request for one type, of either form of the protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Names to add.
    pub subscribe: Vec<String>,
    /// Names to take out.
    pub unsubscribe: Vec<String>,
    /// What the client already has; counts on its first request for the type.
    pub versions: BTreeMap<String, String>,
    /// The response it acknowledges; empty when none.
    pub nonce: String,
    /// Why it refuses that response.
    pub error: Option<String>,
    /// Answer even if nothing seems to have changed.
    pub always_answer: bool,
}

/// What a request said of an earlier response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    None,
    /// It was taken.
    Acknowledged,
    /// It was refused.
    Refused(String),
    /// It is not one of the last responses.
    UnknownNonce,
}

/// What follows from a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// What it said of an earlier response.
    pub verdict: Verdict,
    /// Whether [`Client::respond`] should be called for its type.
    pub respond: bool,
}

/// A request that ends the stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// More than [`MAX_NAMES`].
    #[error(
        "{ty}: a subscription may hold at most {MAX_NAMES} names; ask for fewer, or for all with *"
    )]
    TooManyNames {
        /// The type's short name.
        ty: String,
    },
    /// Types nobody has.
    #[error("a stream may carry at most {MAX_TYPES} types")]
    TooManyTypes,
    /// A name that cannot be one.
    #[error("{ty}: a name is longer than {MAX_NAME} bytes")]
    LongName {
        /// The type's short name.
        ty: String,
    },
}

/// A response to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its type.
    pub ty: TypeUrl,
    /// Its name, unique in the stream.
    pub nonce: String,
    /// New and changed resources with the names they also answer.
    pub resources: Vec<(Item, Vec<String>)>,
    /// Names that are no more, or never were.
    pub removed: Vec<String>,
}

/// How far a client is with one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The nonce last sent.
    pub sent: String,
    /// The nonce last acknowledged.
    pub acked: String,
    /// The newest generation that the client has completely.
    pub acked_generation: u64,
    /// The generation last compared with.
    pub sent_generation: u64,
    /// Why the last response was refused, if it was.
    pub error: Option<String>,
    /// Whether it wants all resources.
    pub wildcard: bool,
    /// How many names it has asked for.
    pub names: usize,
}

/// One client's state.
#[derive(Debug)]
pub struct Client {
    dialect: Dialect,
    /// Begins every nonce.
    nonce_prefix: String,
    sent: u64,
    types: BTreeMap<PushRank, TypeState>,
}

/// A type, ordered as in a push.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PushRank(TypeUrl);

impl Ord for PushRank {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.push_order(&other.0)
    }
}

impl PartialOrd for PushRank {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What a client was told about a name it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    /// Nothing yet, or it asked again.
    Nothing,
    /// Nothing on this stream; it says that it has this version.
    Claimed(Arc<str>),
    /// That there is none.
    Absent,
    /// That this resource answers it.
    By(Arc<str>),
}

#[derive(Debug, Default)]
struct TypeState {
    /// Whether the client itself has asked; not only been sent what others refer to.
    opened: bool,
    wildcard: bool,
    /// The names it asked for.
    asked: BTreeMap<Arc<str>, Told>,
    /// Names it did not ask for, but holds because something refers to them.
    referred: BTreeSet<Arc<str>>,
    /// What it holds by name: versions.
    held: BTreeMap<Arc<str>, Arc<str>>,
    /// What it holds because it wants all; shared with everybody who holds the same.
    held_all: Option<Arc<ItemSet>>,
    must_answer: bool,
    outstanding: VecDeque<(String, u64)>,
    progress: Progress,
}

/// A difference, not yet taken over into the state.
#[derive(Debug, Default)]
struct Plan {
    send: Vec<(Item, Vec<String>)>,
    removed: BTreeSet<Arc<str>>,
    told: Vec<(Arc<str>, Told)>,
    held: BTreeMap<Arc<str>, Arc<str>>,
    held_all: Option<Arc<ItemSet>>,
}

impl Client {
    /// A client that has asked for nothing. Nonces begin with `nonce_prefix`.
    #[must_use]
    pub fn new(dialect: Dialect, nonce_prefix: String) -> Self {
        Self { dialect, nonce_prefix, sent: 0, types: BTreeMap::new() }
    }

    /// Takes a request.
    ///
    /// # Errors
    /// [`Refused`] when it exceeds a bound; the stream should end.
    pub fn request(&mut self, ty: &TypeUrl, request: Request) -> Result<Reaction, Refused> {
        let short = || ty.short().to_owned();
        if request.subscribe.iter().any(|name| name.len() > MAX_NAME) {
            return Err(Refused::LongName { ty: short() });
        }
        let key = PushRank(ty.clone());
        if !self.types.contains_key(&key) && self.types.len() >= MAX_TYPES {
            return Err(Refused::TooManyTypes);
        }
        let on_demand = self.dialect.on_demand;
        let state = self.types.entry(key).or_default();
        let verdict = state.verdict(&request.nonce, request.error);
        // What it says of a response to another question does not open the type.
        let answers = matches!(verdict, Verdict::Acknowledged | Verdict::Refused(_));
        let lets_go = request.subscribe.is_empty() && !request.unsubscribe.is_empty();
        let first = !state.opened && !answers && !lets_go;
        if first {
            state.opened = true;
            state.open(ty, &request.subscribe, &request.versions, on_demand);
        }
        let respond = state.subscribe(&request.subscribe, &request.versions, first)
            | state.unsubscribe(&request.unsubscribe)
            | first
            | request.always_answer;
        state.must_answer |= first || request.always_answer;
        if state.asked.len() > MAX_NAMES || state.held.len() > MAX_NAMES {
            return Err(Refused::TooManyNames { ty: short() });
        }
        Ok(Reaction { verdict, respond })
    }

    /// A generation whose changes have all been responded to: types that it did not touch are as
    /// new as the others.
    pub fn caught_up(&mut self, generation: u64) {
        for state in self.types.values_mut() {
            let progress = &mut state.progress;
            progress.sent_generation = progress.sent_generation.max(generation);
            if state.outstanding.is_empty() && progress.error.is_none() {
                progress.acked_generation = progress.acked_generation.max(generation);
            }
        }
    }

    /// What to send so that the client holds, of `types` (all it has opened when `None`), what
    /// `view` has: in the order of a push, with what on-demand resources refer to.
    pub fn respond(&mut self, view: &dyn View, types: Option<&[TypeUrl]>) -> Vec<Outgoing> {
        let wanted = |ty: &TypeUrl| types.is_none_or(|types| types.contains(ty));
        let mut dirty: Vec<TypeUrl> =
            self.types.keys().map(|key| key.0.clone()).filter(wanted).collect();
        let mut plans: BTreeMap<PushRank, Plan> = BTreeMap::new();
        while let Some(ty) = dirty.pop() {
            let key = PushRank(ty.clone());
            let Some(state) = self.types.get(&key) else { continue };
            let plan = state.plan(&ty, view, self.dialect);
            if self.dialect.on_demand && !state.wildcard {
                for (refers_to, name) in refers(&ty, &plan, view) {
                    if self.refer(&refers_to, name) && !dirty.contains(&refers_to) {
                        dirty.push(refers_to);
                    }
                }
            }
            plans.insert(key, plan);
        }
        let mut outgoing = Vec::new();
        for (key, plan) in plans {
            let state = self.types.entry(key.clone()).or_default();
            let whole = self.dialect.state_of_the_world && state.wildcard;
            let Some((resources, removed)) = state.commit(plan, view.generation(), whole) else {
                continue;
            };
            for (resources, removed) in split(resources, removed, whole) {
                self.sent += 1;
                let nonce = format!("{}-{}", self.nonce_prefix, self.sent);
                state.sent(nonce.clone(), view.generation());
                outgoing.push(Outgoing { ty: key.0.clone(), nonce, resources, removed });
            }
        }
        outgoing
    }

    /// How far the client is, per type it has opened, in the order of a push.
    pub fn progress(&self) -> impl Iterator<Item = (&TypeUrl, Progress)> {
        self.types.iter().map(|(key, state)| {
            let progress = Progress {
                wildcard: state.wildcard,
                names: state.asked.len(),
                ..state.progress.clone()
            };
            (&key.0, progress)
        })
    }

    /// Whether it wants this name of this type, or all of them.
    #[must_use]
    pub fn wants(&self, ty: &TypeUrl, name: &str) -> bool {
        let state = self.types.get(&PushRank(ty.clone()));
        state.is_some_and(|state| state.wildcard || state.asked.contains_key(name))
    }

    /// The names it asked for.
    #[must_use]
    pub fn asked(&self, ty: &TypeUrl) -> Vec<String> {
        let state = self.types.get(&PushRank(ty.clone()));
        state.map(|state| state.asked.keys().map(ToString::to_string).collect()).unwrap_or_default()
    }

    /// How many of these names the client was told do not exist.
    #[must_use]
    pub fn misses(&self, ty: &TypeUrl, names: &[String]) -> usize {
        let Some(state) = self.types.get(&PushRank(ty.clone())) else { return 0 };
        let missed = |name: &&String| state.asked.get(name.as_str()) == Some(&Told::Absent);
        names.iter().filter(missed).count()
    }

    /// Remembers that the client should hold a name; whether that is news.
    fn refer(&mut self, ty: &TypeUrl, name: Arc<str>) -> bool {
        let key = PushRank(ty.clone());
        if !self.types.contains_key(&key) && self.types.len() >= MAX_TYPES {
            return false;
        }
        let state = self.types.entry(key).or_default();
        let known = state.wildcard || state.asked.contains_key(&name);
        !known && state.referred.len() < MAX_NAMES && state.referred.insert(name)
    }
}

/// What the resources of a plan refer to.
fn refers(ty: &TypeUrl, plan: &Plan, view: &dyn View) -> Vec<(TypeUrl, Arc<str>)> {
    plan.send.iter().flat_map(|(item, _)| view.closure(ty, &item.name)).collect()
}

impl TypeState {
    fn verdict(&mut self, nonce: &str, error: Option<String>) -> Verdict {
        if nonce.is_empty() {
            return Verdict::None;
        }
        let Some(position) = self.outstanding.iter().position(|(sent, _)| sent == nonce) else {
            // A second request may carry the nonce that was acknowledged before.
            let again = self.progress.acked == nonce || self.progress.sent == nonce;
            return if again { Verdict::None } else { Verdict::UnknownNonce };
        };
        let generation = self.outstanding[position].1;
        self.outstanding.drain(..=position);
        match error {
            Some(error) => {
                self.progress.error = Some(error.clone());
                Verdict::Refused(error)
            }
            None => {
                self.progress.error = None;
                nonce.clone_into(&mut self.progress.acked);
                // Parts of one generation: it is complete with the last part.
                // Later ones that changed nothing were never sent.
                let complete = match self.outstanding.front() {
                    Some((_, next)) => generation.min(next - 1),
                    None => generation.max(self.progress.sent_generation),
                };
                self.progress.acked_generation = self.progress.acked_generation.max(complete);
                Verdict::Acknowledged
            }
        }
    }

    /// The first request for the type on this stream.
    fn open(
        &mut self,
        ty: &TypeUrl,
        subscribe: &[String],
        versions: &BTreeMap<String, String>,
        on_demand: bool,
    ) {
        let by_name = matches!(
            ty,
            TypeUrl::Endpoint
                | TypeUrl::Route
                | TypeUrl::VirtualHost
                | TypeUrl::Secret
                | TypeUrl::Extension
        );
        // A client that names nothing wants everything, where that can be wanted.
        self.wildcard = subscribe.is_empty() && !by_name;
        for (name, version) in versions {
            let name: Arc<str> = name.as_str().into();
            let wanted = self.wildcard || subscribe.iter().any(|s| *s == "*" || **s == *name);
            if on_demand && !wanted {
                self.referred.insert(name.clone());
            }
            self.held.insert(name, version.as_str().into());
        }
    }

    fn subscribe(
        &mut self,
        names: &[String],
        versions: &BTreeMap<String, String>,
        first: bool,
    ) -> bool {
        for name in names {
            if name == "*" {
                self.wildcard = true;
                self.must_answer = true;
                continue;
            }
            let claimed = versions.get(name).filter(|_| first);
            let told =
                claimed.map_or(Told::Nothing, |version| Told::Claimed(version.as_str().into()));
            let name: Arc<str> = name.as_str().into();
            if let Told::Claimed(version) = &told {
                self.held.entry(name.clone()).or_insert_with(|| version.clone());
            }
            self.referred.remove(&name);
            self.asked.insert(name, told);
        }
        !names.is_empty()
    }

    /// Whether something must be sent because of it.
    fn unsubscribe(&mut self, names: &[String]) -> bool {
        for name in names {
            if name == "*" {
                self.wildcard = false;
                // It drops what it does not ask for by name.
                if let Some(all) = self.held_all.take() {
                    let kept = all.values().filter(|item| self.asked.contains_key(&item.name));
                    self.held.extend(kept.map(|item| (item.name.clone(), item.version.clone())));
                }
                continue;
            }
            let told = self.asked.remove(name.as_str());
            self.referred.remove(name.as_str());
            if !self.wildcard {
                self.held.remove(name.as_str());
            }
            // A resource that was held under this name only goes with it.
            if let Some(Told::By(by)) = told
                && !self.asked.values().any(|told| *told == Told::By(by.clone()))
                && !self.asked.contains_key(&by)
                && !self.referred.contains(&by)
            {
                self.held.remove(&by);
            }
        }
        false
    }

    /// The difference to `view`.
    fn plan(&self, ty: &TypeUrl, view: &dyn View, dialect: Dialect) -> Plan {
        let mut plan = Plan::default();
        if self.wildcard {
            self.plan_all(&view.all(ty), &mut plan);
        }
        // By resource: the names it answers, and whether the client must hear of it.
        let mut desired: BTreeMap<Arc<str>, (Item, Vec<String>, bool)> = BTreeMap::new();
        let in_all = |name: &str| plan.held_all.as_ref().is_some_and(|all| all.contains_key(name));
        let mut removed: Vec<Arc<str>> = Vec::new();
        let mut told_now: Vec<(Arc<str>, Told)> = Vec::new();
        let mut aliased: BTreeSet<&Arc<str>> = BTreeSet::new();
        for (name, told) in &self.asked {
            let mut answer = view.named(ty, name);
            if answer == Answer::Absent
                && !dialect.on_demand
                && let Some(item) = empty(ty, name)
            {
                answer = Answer::Resource(item);
            }
            let alias = matches!(answer, Answer::Alias(_));
            let Some(item) = answer.item() else {
                if *told != Told::Absent {
                    removed.push(name.clone());
                    told_now.push((name.clone(), Told::Absent));
                }
                continue;
            };
            let news = match told {
                Told::By(by) => *by != item.name,
                Told::Claimed(version) => *version != item.version,
                Told::Nothing | Told::Absent => true,
            };
            let by = Told::By(item.name.clone());
            if *told != by {
                told_now.push((name.clone(), by));
            }
            // Claimed under its alias: the client holds the resource itself, too.
            let claimed = matches!(told, Told::Claimed(_)) && !news;
            if claimed && alias {
                plan.held.insert(item.name.clone(), item.version.clone());
            }
            let entry = desired.entry(item.name.clone()).or_insert((item, Vec::new(), false));
            if alias {
                aliased.insert(name);
                entry.1.push(name.to_string());
            }
            entry.2 |= news;
        }
        for name in self.referred.iter().filter(|name| !in_all(name)) {
            if let Some(item) = view.named(ty, name).item() {
                desired.entry(item.name.clone()).or_insert((item, Vec::new(), false));
            }
        }
        let claimed = std::mem::take(&mut plan.held);
        for (name, (item, aliases, news)) in desired {
            let held = self.held.get(&name).or_else(|| claimed.get(&name));
            let sent_already = in_all(&name) && aliases.is_empty() && !news;
            if !sent_already && (news || held != Some(&item.version)) {
                plan.send.retain(|(other, _)| other.name != name);
                plan.send.push((item.clone(), aliases));
            }
            if !in_all(&name) {
                plan.held.insert(name, item.version);
            }
        }
        let gone = |name: &&Arc<str>| !plan.held.contains_key(*name) && !in_all(name);
        // A name that another resource answers now is not gone for the client.
        let unanswered = |name: &&Arc<str>| !aliased.contains(name);
        let lost: Vec<_> = self.held.keys().filter(gone).filter(unanswered).cloned().collect();
        plan.removed.extend(lost);
        plan.removed.extend(removed);
        plan.told = told_now;
        plan
    }

    fn plan_all(&self, now: &Arc<ItemSet>, plan: &mut Plan) {
        if let Some(before) = &self.held_all {
            if !Arc::ptr_eq(before, now) {
                let changed =
                    |item: &&Item| before.get(&item.name).is_none_or(|b| b.version != item.version);
                plan.send
                    .extend(now.values().filter(changed).map(|item| (item.clone(), Vec::new())));
                let gone = |name: &&Arc<str>| !now.contains_key(*name);
                plan.removed.extend(before.keys().filter(gone).cloned());
            }
        } else {
            let unheld = |item: &&Item| self.held.get(&item.name) != Some(&item.version);
            plan.send.extend(now.values().filter(unheld).map(|item| (item.clone(), Vec::new())));
        }
        plan.held_all = Some(now.clone());
    }

    /// Takes the difference over; what to send, if anything.
    #[allow(clippy::type_complexity, reason = "the two lists of a response")]
    fn commit(
        &mut self,
        plan: Plan,
        generation: u64,
        whole: bool,
    ) -> Option<(Vec<(Item, Vec<String>)>, Vec<String>)> {
        let must = std::mem::take(&mut self.must_answer);
        for (name, told) in plan.told {
            self.asked.insert(name, told);
        }
        self.held = plan.held;
        self.held_all = plan.held_all;
        let held = &self.held;
        self.referred.retain(|name| held.contains_key(name));
        self.progress.sent_generation = generation;
        if plan.send.is_empty() && plan.removed.is_empty() && !must {
            if self.outstanding.is_empty() && self.progress.error.is_none() {
                self.progress.acked_generation = generation;
            }
            return None;
        }
        let send = match (&self.held_all, whole) {
            (Some(all), true) => all.values().map(|item| (item.clone(), Vec::new())).collect(),
            _ => plan.send,
        };
        Some((send, plan.removed.iter().map(ToString::to_string).collect()))
    }

    fn sent(&mut self, nonce: String, generation: u64) {
        self.progress.sent.clone_from(&nonce);
        self.outstanding.push_back((nonce, generation));
        if self.outstanding.len() > OUTSTANDING {
            self.outstanding.pop_front();
        }
    }
}

type Part = (Vec<(Item, Vec<String>)>, Vec<String>);

/// Parts of at most [`RESPONSE_BYTES`] each, unless one resource is larger or the set is whole.
fn split(resources: Vec<(Item, Vec<String>)>, removed: Vec<String>, whole: bool) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut current = Vec::new();
    let mut size = 0;
    for (item, aliases) in resources {
        let bytes = item.body.len() + item.name.len() + item.version.len() + 128;
        if !whole && size + bytes > RESPONSE_BYTES && !current.is_empty() {
            parts.push((std::mem::take(&mut current), Vec::new()));
            size = 0;
        }
        size += bytes;
        current.push((item, aliases));
    }
    parts.push((current, removed));
    parts
}

#[cfg(test)]
mod tests;
