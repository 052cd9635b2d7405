//! Patterns by their tokens, so that a publication finds those that mean it.

use std::collections::{BTreeMap, BTreeSet};

use slotmap::SlotMap;

use super::subject::{ANY, Pattern, REST, Subject};

slotmap::new_key_type! {
    struct NodeId;
}

/// Who wants what: keys by pattern.
///
/// A pattern is a way from the root, one node a token. Each node can be reached in one way only, so
/// that a look-up comes to none of them twice, whatever the wildcards are.
#[derive(Debug)]
pub struct Trie<K> {
    nodes: SlotMap<NodeId, Node<K>>,
    root: NodeId,
    len: usize,
    /// Where a look-up stands, kept for the next one.
    here: Vec<NodeId>,
    next: Vec<NodeId>,
}

#[derive(Debug)]
struct Node<K> {
    /// By the next token.
    named: BTreeMap<Box<str>, NodeId>,
    /// Behind `*`.
    any: Option<NodeId>,
    /// The patterns that end here.
    ends: BTreeSet<K>,
    /// The patterns that end with `>` behind here.
    rest: BTreeSet<K>,
}

/// A look-up was given up: it would have found too many, or taken too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// How far a look-up may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Keys it may find.
    pub found_max: usize,
    /// Nodes it may look at.
    pub looked_max: usize,
}

impl<K> Default for Node<K> {
    fn default() -> Self {
        Self { named: BTreeMap::new(), any: None, ends: BTreeSet::new(), rest: BTreeSet::new() }
    }
}

impl<K> Node<K> {
    fn is_empty(&self) -> bool {
        self.named.is_empty() && self.any.is_none() && self.ends.is_empty() && self.rest.is_empty()
    }

    fn child(&self, token: &str) -> Option<NodeId> {
        if token == ANY { self.any } else { self.named.get(token).copied() }
    }

    fn set_child(&mut self, token: &str, child: NodeId) {
        if token == ANY {
            self.any = Some(child);
        } else {
            self.named.insert(token.into(), child);
        }
    }

    fn forget_child(&mut self, token: &str) {
        if token == ANY {
            self.any = None;
        } else {
            self.named.remove(token);
        }
    }
}

impl<K: Ord + Copy> Trie<K> {
    /// Memory of one pattern that has nothing in common with any other, octets.
    #[must_use]
    pub fn cost_of(pattern: Pattern<'_>) -> usize {
        /// Of an entry in a tree whose nodes are half full, its texts' own overhead included.
        const ENTRY: usize = 2 * (size_of::<(Box<str>, NodeId)>() + size_of::<usize>());
        let tokens = pattern.tokens().count();
        pattern.as_str().len() + tokens * (size_of::<Node<K>>() + ENTRY) + 2 * size_of::<K>()
    }

    /// No patterns.
    #[must_use]
    pub fn new() -> Self {
        let mut nodes = SlotMap::with_key();
        let root = nodes.insert(Node::default());
        Self { nodes, root, len: 0, here: Vec::new(), next: Vec::new() }
    }

    /// Pairs of pattern and key.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Nodes, the root included.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// From now on `key` is found by what `pattern` means. False: it was before.
    pub fn insert(&mut self, pattern: Pattern<'_>, key: K) -> bool {
        let mut at = self.root;
        let mut to_rest = false;
        for token in pattern.tokens() {
            if token == REST {
                to_rest = true;
                break;
            }
            let known = self.nodes.get(at).and_then(|node| node.child(token));
            let child = known.unwrap_or_else(|| self.nodes.insert(Node::default()));
            if known.is_none()
                && let Some(node) = self.nodes.get_mut(at)
            {
                node.set_child(token, child);
            }
            at = child;
        }
        let Some(node) = self.nodes.get_mut(at) else { return false };
        let is_new = if to_rest { node.rest.insert(key) } else { node.ends.insert(key) };
        self.len += usize::from(is_new);
        is_new
    }

    /// `key` is not found by `pattern` any more. False: it was not before.
    pub fn remove(&mut self, pattern: Pattern<'_>, key: K) -> bool {
        let mut way = Vec::new();
        let mut at = self.root;
        let mut to_rest = false;
        for token in pattern.tokens() {
            if token == REST {
                to_rest = true;
                break;
            }
            let Some(child) = self.nodes.get(at).and_then(|node| node.child(token)) else {
                return false;
            };
            way.push((at, token));
            at = child;
        }
        let Some(node) = self.nodes.get_mut(at) else { return false };
        let was_there = if to_rest { node.rest.remove(&key) } else { node.ends.remove(&key) };
        self.len -= usize::from(was_there);
        // What leads nowhere any more, goes.
        while let Some((parent, token)) = way.pop() {
            if !self.nodes.get(at).is_some_and(Node::is_empty) {
                break;
            }
            self.nodes.remove(at);
            if let Some(parent) = self.nodes.get_mut(parent) {
                parent.forget_child(token);
            }
            at = parent;
        }
        was_there
    }

    /// All keys whose patterns mean `subject`, in ascending order, into `found`, which is empty
    /// before. Gives how many nodes were looked at.
    ///
    /// # Errors
    /// There are more than may be found, or too many places to look at; `found` is of no use then.
    pub fn find(
        &mut self,
        subject: Subject<'_>,
        reach: Reach,
        found: &mut Vec<K>,
    ) -> Result<usize, TooMany> {
        let (mut here, mut next) = (std::mem::take(&mut self.here), std::mem::take(&mut self.next));
        here.clear();
        here.push(self.root);
        let result = self.walk(subject, reach, [&mut here, &mut next], found);
        (self.here, self.next) = (here, next);
        found.sort_unstable();
        result
    }

    fn walk(
        &self,
        subject: Subject<'_>,
        reach: Reach,
        [here, next]: [&mut Vec<NodeId>; 2],
        found: &mut Vec<K>,
    ) -> Result<usize, TooMany> {
        let mut take = |keys: &BTreeSet<K>| {
            let fits = found.len() + keys.len() <= reach.found_max;
            if fits {
                found.extend(keys);
            }
            if fits { Ok(()) } else { Err(TooMany) }
        };
        let mut looked = 0;
        // The broker's own subjects are not meant by a wildcard in the first place.
        let mut wild = !subject.is_reserved();
        for token in subject.tokens() {
            looked += here.len();
            if looked > reach.looked_max {
                return Err(TooMany);
            }
            next.clear();
            for node in here.iter().filter_map(|id| self.nodes.get(*id)) {
                if wild {
                    take(&node.rest)?;
                    next.extend(node.any);
                }
                next.extend(node.named.get(token));
            }
            std::mem::swap(here, next);
            wild = true;
        }
        here.iter().filter_map(|id| self.nodes.get(*id)).try_for_each(|node| take(&node.ends))?;
        Ok(looked)
    }
}

impl<K: Ord + Copy> Default for Trie<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAR: Reach = Reach { found_max: usize::MAX, looked_max: usize::MAX };

    /// As the words of the specification have it, with recursion and without a thought of speed.
    fn means(pattern: &[&str], subject: &[&str], first: bool) -> bool {
        let own = first && subject.first().is_some_and(|token| token.starts_with('$'));
        match (pattern, subject) {
            ([], []) => true,
            ([">"], [_, ..]) => !own,
            (["*", pattern @ ..], [_, subject @ ..]) => !own && means(pattern, subject, false),
            ([wanted, pattern @ ..], [token, subject @ ..]) => {
                wanted == token && means(pattern, subject, false)
            }
            _ => false,
        }
    }

    fn tokens(text: &str) -> Vec<&str> {
        text.split('.').collect()
    }

    fn subject() -> impl Strategy<Value = String> {
        "(a|b|\\$c|dd)(\\.(a|b|\\$c|dd)){0,4}"
    }

    fn pattern() -> impl Strategy<Value = String> {
        "(((a|b|\\$c|dd|\\*)\\.){0,4}(a|b|\\$c|dd|\\*|>))"
    }

    proptest! {
        #[test]
        fn a_look_up_finds_what_a_naive_matcher_finds(
            patterns in prop::collection::vec(pattern(), 0..40),
            gone in prop::collection::vec(any::<bool>(), 40),
            subjects in prop::collection::vec(subject(), 1..10),
        ) {
            let mut trie = Trie::new();
            for (key, text) in patterns.iter().enumerate() {
                prop_assert!(trie.insert(Pattern::parse(text).unwrap(), key));
            }
            for (key, text) in patterns.iter().enumerate().filter(|(key, _)| gone[*key]) {
                prop_assert!(trie.remove(Pattern::parse(text).unwrap(), key));
                prop_assert!(!trie.remove(Pattern::parse(text).unwrap(), key));
            }
            let left = || patterns.iter().enumerate().filter(|(key, _)| !gone[*key]);
            prop_assert_eq!(trie.len(), left().count());
            for text in &subjects {
                let subject = Subject::parse(text).unwrap();
                let mut found = Vec::new();
                trie.find(subject, FAR, &mut found).unwrap();
                let fits = |(key, pattern): (usize, &String)| {
                    let fits = means(&tokens(pattern), &tokens(text), true);
                    assert_eq!(Pattern::parse(pattern).unwrap().matches(subject), fits);
                    fits.then_some(key)
                };
                let expected: Vec<_> = left().filter_map(fits).collect();
                prop_assert_eq!(&found, &expected, "{}", text);
                let mut again = Vec::new();
                let enough = Reach { found_max: found.len(), ..FAR };
                prop_assert!(trie.find(subject, enough, &mut again).is_ok());
                if let Some(less) = found.len().checked_sub(1) {
                    let short = Reach { found_max: less, ..FAR };
                    prop_assert_eq!(trie.find(subject, short, &mut Vec::new()), Err(TooMany));
                }
            }
            for (key, text) in left() {
                trie.remove(Pattern::parse(text).unwrap(), key);
            }
            prop_assert_eq!((trie.len(), trie.nodes()), (0, 1), "nothing stays behind");
        }
    }

    #[test]
    fn a_look_up_ends_though_patterns_are_made_to_make_it_long() {
        // Every way of `a` and `*` through 12 tokens: all of them mean the subject.
        let mut trie = Trie::new();
        for bits in 0..1 << 12 {
            let token = |at: u32| if bits >> at & 1 == 0 { "a" } else { "*" };
            let text = (0..12).map(token).collect::<Vec<_>>().join(".");
            trie.insert(Pattern::parse(&text).unwrap(), bits);
        }
        let text = ["a"; 12].join(".");
        let subject = Subject::parse(&text).unwrap();
        let mut found = Vec::new();
        let looked = trie.find(subject, FAR, &mut found).unwrap();
        assert!(looked < trie.nodes(), "each is looked at once at most");
        assert_eq!(found.len(), 1 << 12);
        let short = Reach { looked_max: 1000, ..FAR };
        assert_eq!(trie.find(subject, short, &mut Vec::new()), Err(TooMany));
        // No more places are looked at than there are.
        let all = Reach { looked_max: trie.nodes(), ..FAR };
        assert_eq!(trie.find(subject, all, &mut Vec::new()), Ok(looked));
    }
}
