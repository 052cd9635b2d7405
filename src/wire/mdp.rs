//! mdp
