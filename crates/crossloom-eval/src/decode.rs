//! Greedy decoding over whatever can name the next token.
//!
//! The driver knows nothing of prompts, pictures or caches: questions are numbers, and the model keeps what belongs to
//! them. All open questions of a batch are asked together, in ascending order, until each has ended.

use crate::BoxError;

/// A question that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenSequence<'a> {
    /// Number of the question in its batch.
    pub question: usize,
    /// Tokens generated so far, oldest first; empty in the first round.
    pub generated: &'a [i32],
}

/// What the model says about one open question.
#[derive(Debug, Clone, PartialEq)]
pub enum NextToken {
    /// The most likely next token; of several equally likely ones the smallest, so that decoding is deterministic.
    Token {
        /// Its id.
        id: i32,
        /// Its log-probability in nats, where the model computes it.
        logprob: Option<f32>,
    },
    /// This question failed (say, its sequence is full); the others go on.
    Failed(String),
}

/// Names the most likely next token of every open question.
pub trait NextTokens {
    /// One answer per open sequence, in the same order. An error ends the whole batch.
    fn next_tokens(&mut self, open: &[OpenSequence<'_>]) -> Result<Vec<NextToken>, BoxError>;
}

/// When to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Longest answer in tokens, end token excluded.
    pub max_new_tokens: usize,
    /// Tokens that end an answer; they are not part of it.
    pub eos: Vec<i32>,
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Its tokens, end token excluded.
    pub tokens: Vec<i32>,
    /// Whether it ended by itself; `false` where it was cut at the longest length or failed.
    pub finished: bool,
    /// Sum of the log-probabilities of its tokens and the end token, where the model gave all of them.
    pub logprob: Option<f64>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// A batch that could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The model failed.
    #[error("decoding failed at token {position} of the answers: {source}")]
    Model {
        /// Tokens generated before, in the longest answer.
        position: usize,
        /// What the model said.
        source: BoxError,
    },
    /// The model gave another number of tokens than there are open questions.
    #[error("the model named {got} next tokens for {expected} open questions")]
    Count {
        /// Open questions.
        expected: usize,
        /// Tokens named.
        got: usize,
    },
    /// A token id below zero.
    #[error("the model named the token {id} for question {question}; token ids start at 0")]
    Token {
        /// Number of the question.
        question: usize,
        /// The id.
        id: i32,
    },
}

/// Decode `questions` questions together. With a longest length of 0 the model is not asked at all.
pub fn greedy(
    model: &mut dyn NextTokens,
    questions: usize,
    options: &DecodeOptions,
) -> Result<Vec<Decoded>, DecodeError> {
    let start = Decoded { tokens: Vec::new(), finished: false, logprob: Some(0.0), error: None };
    let mut answers = vec![start; questions];
    let mut open: Vec<usize> = (0..questions).collect();
    // The end token takes a round of its own: an answer of the longest length may still end by itself.
    for position in 0..=options.max_new_tokens {
        if open.is_empty() || options.max_new_tokens == 0 {
            break;
        }
        let sequences: Vec<OpenSequence<'_>> = open
            .iter()
            .map(|&question| OpenSequence { question, generated: &answers[question].tokens })
            .collect();
        let next = model.next_tokens(&sequences).map_err(|source| DecodeError::Model { position, source })?;
        if next.len() != open.len() {
            return Err(DecodeError::Count { expected: open.len(), got: next.len() });
        }
        let mut still_open = Vec::with_capacity(open.len());
        for (question, next) in open.into_iter().zip(next) {
            let answer = &mut answers[question];
            match next {
                NextToken::Failed(error) => answer.error = Some(error),
                NextToken::Token { id, .. } if id < 0 => return Err(DecodeError::Token { question, id }),
                NextToken::Token { id, logprob } if options.eos.contains(&id) => {
                    answer.add_logprob(logprob);
                    answer.finished = true;
                }
                NextToken::Token { id, logprob } if position < options.max_new_tokens => {
                    answer.add_logprob(logprob);
                    answer.tokens.push(id);
                    still_open.push(question);
                }
                NextToken::Token { .. } => {}
            }
        }
        open = still_open;
    }
    Ok(answers)
}

impl Decoded {
    fn add_logprob(&mut self, logprob: Option<f32>) {
        self.logprob = self.logprob.zip(logprob).map(|(sum, logprob)| sum + f64::from(logprob));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const EOS: i32 = 0;

    /// Speaks prepared answers and notes which questions were asked in every round.
    struct Script {
        answers: Vec<Vec<NextToken>>,
        rounds: Vec<Vec<usize>>,
    }

    impl Script {
        fn new(answers: &[&[i32]]) -> Self {
            let token = |&id: &i32| NextToken::Token { id, logprob: Some(-0.5) };
            Self {
                answers: answers.iter().map(|ids| ids.iter().map(token).collect()).collect(),
                rounds: Vec::new(),
            }
        }
    }

    impl NextTokens for Script {
        fn next_tokens(&mut self, open: &[OpenSequence<'_>]) -> Result<Vec<NextToken>, BoxError> {
            self.rounds.push(open.iter().map(|sequence| sequence.question).collect());
            open.iter()
                .map(|sequence| {
                    let answer = &self.answers[sequence.question];
                    answer.get(sequence.generated.len()).cloned().ok_or_else(|| "the script has ended".into())
                })
                .collect()
        }
    }

    fn options(max_new_tokens: usize) -> DecodeOptions {
        DecodeOptions { max_new_tokens, eos: vec![EOS] }
    }

    #[test]
    fn every_question_ends_at_its_own_end_token_and_is_not_asked_again() {
        let mut script = Script::new(&[&[5, EOS], &[EOS], &[7, 8, 9, EOS]]);
        let answers = greedy(&mut script, 3, &options(8)).unwrap();
        let tokens: Vec<&[i32]> = answers.iter().map(|answer| answer.tokens.as_slice()).collect();
        assert_eq!(tokens, [&[5][..], &[], &[7, 8, 9]]);
        assert!(answers.iter().all(|answer| answer.finished && answer.error.is_none()));
        assert_eq!(answers[2].logprob, Some(-2.0));
        assert_eq!(script.rounds, [vec![0, 1, 2], vec![0, 2], vec![2], vec![2]]);
    }

    #[test]
    fn an_answer_that_is_cut_is_marked_and_one_of_exactly_the_longest_length_is_not() {
        let mut script = Script::new(&[&[1, 2, 3, 4], &[1, 2, EOS]]);
        let answers = greedy(&mut script, 2, &options(2)).unwrap();
        assert_eq!((answers[0].tokens.as_slice(), answers[0].finished), (&[1, 2][..], false));
        assert_eq!((answers[1].tokens.as_slice(), answers[1].finished), (&[1, 2][..], true));
        assert_eq!(script.rounds.len(), 3);
    }

    #[test]
    fn one_failed_question_does_not_stop_the_others() {
        let mut script = Script::new(&[&[1, EOS], &[2, 3, EOS]]);
        script.answers[0][1] = NextToken::Failed("no room".into());
        let answers = greedy(&mut script, 2, &options(8)).unwrap();
        assert_eq!((answers[0].error.as_deref(), answers[0].finished), (Some("no room"), false));
        assert_eq!((answers[1].tokens.as_slice(), answers[1].finished), (&[2, 3][..], true));
    }

    #[test]
    fn nothing_to_do_asks_nothing() {
        let mut script = Script::new(&[&[1]]);
        assert!(greedy(&mut script, 0, &options(8)).unwrap().is_empty());
        assert!(!greedy(&mut script, 1, &options(0)).unwrap()[0].finished);
        assert!(script.rounds.is_empty());
    }

    #[test]
    fn a_misbehaving_model_is_an_error() {
        struct Bad(Vec<NextToken>);
        impl NextTokens for Bad {
            fn next_tokens(&mut self, _open: &[OpenSequence<'_>]) -> Result<Vec<NextToken>, BoxError> {
                Ok(self.0.clone())
            }
        }
        let token = NextToken::Token { id: -1, logprob: None };
        assert!(matches!(
            greedy(&mut Bad(vec![token]), 1, &options(2)),
            Err(DecodeError::Token { id: -1, .. })
        ));
        assert!(matches!(
            greedy(&mut Bad(vec![]), 1, &options(2)),
            Err(DecodeError::Count { expected: 1, got: 0 })
        ));
        let mut ended = Script::new(&[&[1]]);
        assert!(matches!(greedy(&mut ended, 1, &options(4)), Err(DecodeError::Model { position: 1, .. })));
    }
}
