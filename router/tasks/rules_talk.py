"""Rules for tasks that are talk: qa, creative, chat, reasoning."""

from __future__ import annotations

from typing import Final

from router.tasks.features import Features
from router.tasks.rule import Rule, phrases

SHORT_CHARACTERS = 200
BRIEF_CHARACTERS = 90
ADVICE_CHARACTERS = 600


def _short(features: Features) -> bool:
    return 0 < len(features.turn) <= SHORT_CHARACTERS


def _brief_remark(features: Features) -> bool:
    if features.request.user_turns > 1:
        return False  # a brief answer belongs to whatever the conversation is about
    if not 0 < len(features.turn) <= BRIEF_CHARACTERS or features.asks_question:
        return False
    return not (_QUESTION_WORDS.matches(features.ask) or _ORDERS.matches(features.ask))


def _short_question(features: Features) -> bool:
    return _short(features) and features.asks_question


def _choice(features: Features) -> bool:
    return features.options >= 4  # noqa: PLR2004 -- the usual A to D


_MAKE = (
    "^write | ^compose | ^create | ^draft | ^make | ^generate | ^tell | ^invent | ^continue | ^rewrite |"
    " ^rephrase | ^come | ^craft | ^imagine | ^describe | ^design | ^develop | ^build | ^give | ^complete |"
    " ^convert | ^schreib | ^schreibe | ^erfinde | ^verfasse | ^dichte | ^écris | ^rédige | ^fais |"
    " ^invente | ^raconte | ^escribe | ^redacta | ^haz | ^genera | ^crea | ^scrivi | ^inventa | ^escreva |"
    " ^crie | ^напиши | ^придумай | ^сочини | write a | write an | write me | 写 | 创作 | 编 | 書いて |"
    " 作って | 써"
)
_PIECE = (
    "story | stories | poem | poems | haiku | song | lyrics | rap | novel | scene | script | screenplay |"
    " fanfic | fanfiction | tale | limerick | sonnet | plot | dialogue | joke | jokes | essay | speech |"
    " letter | email | mail | blog | blog post | post | article | tweet | ad | advertisement | slogan |"
    " slogans | tagline | taglines | caption | newsletter | product description | press release |"
    " cover letter | invitation | toast | riddle | sentence | paragraph | description | review | names |"
    " title | titles | headlines | sentences | text | response | reply | answer to the | advice column |"
    " guion | filastrocca | персонаж* | 台詞 | character | monologue | metaphor | gedicht | geschichte |"
    " lied | rede | brief | einladung | märchen | witz | anzeige | poème | histoire | conte | chanson |"
    " lettre | discours | poema | cuento | historia | canción | carta | discurso | anuncio | poesia |"
    " storia | lettera | canzone | crônica | conto | рассказ | стих | стихотворение | сказку | письмо |"
    " 诗 | 故事 | 小说 | 文章 | 歌词 | 情书 | 邮件 | 作文 | 物語 | 詩 | 시 | 이야기 | 편지"
)
_WHAT = (
    "^what | ^who | ^where | ^when | ^which | ^why | ^how | ^is | ^are | ^does | ^do | ^did | ^can |"
    " ^should | ^explain | ^describe | ^name | ^define | ^compare | ^whose | ^was | ^were | ^list | ^wer |"
    " ^wo | ^wann | ^warum | ^wie | ^welche | ^erkläre | ^qui | ^quoi | ^où | ^quand | ^pourquoi |"
    " ^comment | ^quel | ^quelle | ^explique | ^qué | ^quién | ^dónde | ^cuándo | ^cómo | ^cuál |"
    " ^explica | ^che | ^chi | ^dove | ^come | ^perché | ^qual | ^quem | ^onde | ^что | ^кто | ^где |"
    " ^когда | ^почему | ^как | ^jak | ^dlaczego | 什么 | 为什么 | 怎么 | 谁 | 哪 | 如何 | なぜ | 何 |"
    " どう | 무엇 | 왜"
)

_QUESTION_WORDS = phrases(_WHAT)
_ORDERS = phrases(
    _MAKE
    + "| ^suggest | ^find | ^put | ^list | ^fix | ^add | ^change | ^cancel | i need | i want | i would like"
)

TALK_RULES: Final[tuple[Rule, ...]] = (
    Rule("qa", 0.8, "opens as a question does", any_of=phrases(_WHAT)),
    Rule("qa", 1.4, "a short question", when=_short_question),
    Rule(
        "qa",
        1.6,
        "a short question without its mark",
        any_of=_QUESTION_WORDS,
        when=lambda f: _short(f) and not f.asks_question,
    ),
    Rule(
        "qa",
        1.3,
        "asks for knowledge or advice",
        any_of=phrases(
            "explain | difference between | what is the | who is | who was | where is | tell me about |"
            " what are the | how does | best way | tips | pros and cons | advantages | recipe |"
            " meaning of | what does | unterschied | différence entre | diferencia entre | who wrote |"
            " capital of | in which year | what year | true or false | difference | how to | strategy |"
            " should i | recommend* | suggest | analyze | discuss | how would you | compare | history of |"
            " causes of | benefits"
        ),
        when=lambda f: len(f.turn) <= ADVICE_CHARACTERS,
    ),
    Rule("qa", 1.1, "a multiple choice", when=_choice),
    Rule("creative", 3.9, "asks for a piece of writing", any_of=phrases(_MAKE), with_any_of=phrases(_PIECE)),
    Rule(
        "creative",
        2.3,
        "names a piece of writing nobody writes for work on data",
        any_of=phrases(
            "poem | haiku | flash fiction | fan mail | a script | script of | rhymes | filastrocca |"
            " колыбельную | lullaby | 对仗 | historia | cuento | речь | história | limerick | lyrics |"
            " fanfic | short story | fairy tale | screenplay | slogan | slogans | tagline | taglines |"
            " newsletter | blog post | cover letter | product description | script where | rhyme |"
            " rhyming | rap | gedicht | poème | poema | poesia | стих* | 诗 | 小说 | love letter | ad copy"
        ),
    ),
    Rule(
        "creative",
        1.8,
        "asks for style",
        any_of=phrases(
            "funny | humorous | in the style of | creative | persuasive | playful | catchy | tone |"
            " polite | engaging | witty | rewrite | rephrase | paraphrase | words long | brainstorm |"
            " ideas for | lustig* | drôle | divert*"
        ),
    ),
    Rule(
        "chat",
        4.5,
        "asks for a persona or a game",
        any_of=phrases(
            "act as | pretend | roleplay | role play | you are now | i want you to act | take on the role |"
            " play the role | play a game | let s play | you will be | imagine you are | you re a |"
            " you re my | be my | stay in character | in character | game master | embody |"
            " assume the role | spiel* | du bist | tu es | eres | sei un | sei il | juguemos | jouons |"
            " ты | 扮演 | 你是 | 我们来玩 | あなたは | respond as | persona | speak as | answer as"
        ),
    ),
    Rule("chat", 1.6, "a brief remark that asks for nothing", when=_brief_remark),
    Rule(
        "chat",
        2.6,
        "speaks to the assistant as to a person",
        any_of=phrases(
            "do you like | do you think | do you have | do you know | do you ever | are you |"
            " your favorite | your favourite | do you watch | do you | did you | have you | you like |"
            " who are you | your name | how are you | can you feel | tell me a joke | a joke | i m bored |"
            " talk to me | nice to meet | thank you | thanks | lol | haha | bist du | magst du | hast du |"
            " es tu | as tu | tienes | te gusta | ты любишь | 你 | 你喜欢 | あなた | 너"
        ),
        when=_short,
    ),
    Rule(
        "chat",
        0.5,
        "small talk",
        any_of=phrases(
            "i love | i like | i think | i feel | me too | yeah | yes i | that s | i guess | cool | wow |"
            " really | i m | hello | hi | hey | hallo | salut | hola | ciao | привет | 你好 | こんにちは"
        ),
        when=_short,
    ),
    Rule("chat", 1.3, "goes on with a conversation", when=lambda f: f.request.user_turns > 1 and _short(f)),
    Rule(
        "reasoning",
        3.1,
        "a puzzle or a deduction",
        any_of=phrases(
            "puzzle | riddle | logic | logical* | fallacy | deduc* | premises | premise | conclusion |"
            " argument | valid or invalid | syllogism | brain teaser | most likely | more likely |"
            " more plausible | plausible | most suitable | odd one out | taller than | older | shorter |"
            " who is what | will happen | causes this | mögliche ursache | fallacies | shorter than |"
            " older than | younger than | left of | right of | lies | liar | tells the truth | truth |"
            " reasoning | common sense | commonsense |"
            " causation | cause | effect | infer* | implies | rätsel | schlussfo* | logik | énigme |"
            " logique | acertijo | lógica | enigma | indovinello | загадка | 推理 | 谜 | 逻辑 | なぞなぞ |"
            " 논리 | what happens next | sequence | ambiguous | antecedent | predicate logic |"
            " predicate | proposition | necessarily | all of the | none of the"
        ),
    ),
    Rule(
        "reasoning",
        3.7,
        "a choice between two or three",
        when=lambda f: 2 <= f.options <= 3 and len(f.turn) < ADVICE_CHARACTERS,  # noqa: PLR2004
    ),
    Rule("reasoning", 1.9, "more options than an exam has", when=lambda f: f.options > 4),  # noqa: PLR2004
    Rule(
        "reasoning",
        1.0,
        "asks for the way to the answer",
        any_of=phrases(
            "step by step | think | explain your reasoning | raisonne | razona | denk |"
            " schritt für schritt | étape par étape | paso a paso | 推理过程"
        ),
    ),
    Rule(
        "reasoning",
        1.9,
        "a choice from a list of options",
        any_of=phrases(
            "options | choose | choose between | option | possible answers | yes or no | select | pick"
        ),
        when=lambda f: len(f.turn) < 4 * ADVICE_CHARACTERS,
    ),
)
