"""Rules for tasks that work on a text in the prompt: summarization, translation, extraction, rag."""

# ruff: noqa: RUF001 -- words of many languages are the point, look-alike letters included
from __future__ import annotations

import re
from typing import Final

from router.tasks.features import Features, zone
from router.tasks.rule import Rule, phrases

MATERIAL_CHARACTERS = 150
PASSAGE_CHARACTERS = 280
INSTRUCTION_CHARACTERS = 70

_LANGUAGE_NAMES = (
    "english | german | french | spanish | italian | portuguese | russian | chinese | japanese | korean |"
    " arabic | hindi | dutch | swedish | norwegian | danish | finnish | polish | czech | turkish | greek |"
    " hebrew | thai | vietnamese | indonesian | ukrainian | romanian | hungarian | catalan | latin |"
    " persian | farsi | swahili | bengali | tamil | urdu | malay | mandarin | brazilian portuguese |"
    " bulgarian | croatian | serbian | slovak | icelandic | welsh | irish | tagalog | filipino | telugu |"
    " marathi | zulu | somali | nepali | khmer | amharic | deutsch | englisch | französisch | spanisch |"
    " italienisch | russisch | chinesisch | japanisch | anglais | allemand | français | espagnol |"
    " italien | inglés | alemán | francés | español | italiano | inglese | tedesco | francese | spagnolo |"
    " inglês | alemão | francês | espanhol | английский | русский | немецкий | 英文 | 英语 | 中文 | 法语 |"
    " 德语 | 日语 | 英語 | 日本語 | 한국어 | 영어"
)
_INTO = tuple(
    f"{preposition} {name}"
    for preposition in ("to", "into", "in", "auf", "ins", "en", "al", "in italiano", "para o", "na", "на")
    for name in (part.strip() for part in _LANGUAGE_NAMES.split("|"))
    if " " not in name
)
_TARGET_LINE = re.compile(
    r"(?:(?:->|→|=>|\bto\b|\binto\b)\s{0,3}[a-z ]{3,24}[.:]?\s*$)|(?:^[a-z ]{3,24}(?: please)?\s{0,2}[:：])",
    re.MULTILINE,
)
_NAMES = phrases(_LANGUAGE_NAMES)


def _has_material(features: Features) -> bool:
    return features.material_characters >= MATERIAL_CHARACTERS or features.speakers >= 4  # noqa: PLR2004


def _has_passage(features: Features) -> bool:
    return len(features.turn) + len(features.request.system_prompt) >= PASSAGE_CHARACTERS


def _short_instruction(features: Features) -> bool:
    if len(features.lines) < 2:  # noqa: PLR2004 -- an instruction and a text
        return False
    return any(
        len(line) <= INSTRUCTION_CHARACTERS and _NAMES.matches(zone(line))
        for line in (features.lines[0], features.lines[-1])
    )


def _names_target(features: Features) -> bool:
    if not _NAMES.matches(features.ask):
        return False
    ends = f"{features.lines[0]}\n{features.lines[-1]}"[-400:].lower() if features.lines else ""
    return _TARGET_LINE.search(ends) is not None


def _question_over_material(features: Features) -> bool:
    return features.asks_question and _has_material(features) and features.options < 2  # noqa: PLR2004


def _question_in_passage(features: Features) -> bool:
    return features.asks_question and len(features.turn) >= 2 * PASSAGE_CHARACTERS and len(features.lines) > 1


TEXT_RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "summarization",
        5.0,
        "asks for a summary",
        any_of=phrases(
            "summar* | tldr | tl dr | recap | zusammenfa* | fasse | fass | kurzfassung | résum* | resumen |"
            " resum* | resumir | resuma | riassum* | riassunto | samenvat* | streszcz* | streść |"
            " sammanfatt* | özetle* | abstract | суммар* | кратко | резюм* | изложи | 总结 | 概括 | 摘要 |"
            " 总括 | 要約 | まとめて | 요약 | condense | digest | gist | in a nutshell | nutshell |"
            " boil it down | boil down | synopsis | kurz zusammen | tóm tắt"
        ),
    ),
    Rule(
        "summarization",
        4.7,
        "asks for less of what is there",
        any_of=phrases(
            "key points | краткое содержание | в двух словах | вкратце | in sintesi | sintesi |"
            " en resumen | samen | essentials | key takeaways | main points | main point | main idea |"
            " main ideas | short version | shorten | shorter | overview | headline | takeaways | takeaway |"
            " in one sentence | in two sentences | in three sentences | bullet points | highlights |"
            " one sentence | two sentences | three sentences | one line | brief | briefly | in short |"
            " outline | kürze | kürzer | stichpunkt* | wichtigsten punkte | points clés | puntos clave |"
            " punti chiave | reduce | kernaussage* | minutes | executive | essence | en bref |"
            " en una frase | in einem satz | en une phrase | 要点 | 一句话"
        ),
        when=_has_passage,
    ),
    Rule(
        "translation",
        4.3,
        "asks to translate",
        any_of=phrases(
            "translat* | übersetz* | tradu* | traduis | vertaal* | vertal* | przetłumacz* | översätt* |"
            " oversett* | переведи | перевод | переве* | перекла* | 翻译 | 译成 | 翻譯 | 翻訳 | 訳し |"
            " 번역 | แปล | dịch | çevir* | ترجم | अनुवाद | terjemah* | render | ^render"
        ),
    ),
    Rule(
        "translation",
        3.2,
        "asks how something is said elsewhere",
        any_of=phrases(
            "how do i say | how do you say | how to say | how would i say | how would you say | say in |"
            " i say | wie sagt man | wie heißt | comment dit | comment dit on | the following in |"
            " mean in | означает | cómo se dice | come si dice | como se diz | 怎么说 | как сказать |"
            " would i say | people say | word for"
        ),
    ),
    Rule("translation", 2.5, "puts something into a language", any_of=phrases(" | ".join(_INTO))),
    Rule("translation", 2.7, "names a target language at its edge", when=_names_target),
    Rule(
        "extraction",
        4.2,
        "asks to extract",
        any_of=phrases(
            "extract* | extrah* | pick out | mention | mentioned | is named | comma separated |"
            " make a list of | make a table of | wypisz | 抜き出し | indica | name every | find me every |"
            " extrai* | extrae | estra* | entit* | entidad* | entität* | named entities | slots | slot |"
            " fill in | pull out | identify all | list all the | list all | list every | find all | spans |"
            " annotate | every name | all names | highlight | tag the | copy the | verbatim |"
            " mentioned in | mentions | 提取 | 抽取 | 列出 | 抽出 | 추출 | извлеки | выпиши | извлеч* |"
            " keywords | key words | key details | details about"
        ),
    ),
    Rule(
        "extraction",
        2.7,
        "names the fields it wants",
        any_of=phrases(
            "names | dates | date | persons | people | locations | organisations | organizations | phone |"
            " phone number | email address | amount | amounts | sender | deadline | fields | figures |"
            " companies | places | corporations | products | time | city | personen | orte |"
            " organisationen | firmen | beträge | datum | noms | lieux | nombres | lugares | fechas |"
            " cifras | 人名 | 地名 | 日期"
        ),
        with_any_of=phrases(
            "^list | ^find | ^get | ^who | ^give | ^extract | ^return | ^name | ^identify | ^read | ^make |"
            " ^which | ^liste | ^nenne | ^lista | ^pull | ^collect | ^what | out of | from this |"
            " from the | in this text | im text | dans le texte | 从"
        ),
    ),
    Rule(
        "rag",
        3.8,
        "points at a passage to answer from",
        any_of=phrases(
            "context | passage | reference | document | documents | docs | source | sources |"
            " according to | based on the | based on this | using only | use only | only the text |"
            " from the text | in the text | the article | the paragraph | the given | текст* | pytanie |"
            " frage | question | pregunta | pergunta | 문맥 | κείμενο | retrieved | background |"
            " knowledge base | excerpt | anhand des textes | kontext | laut text | laut dem | quelle |"
            " contexte | d après | selon le texte | contexto | según el texto | según | contesto |"
            " secondo il | контекст* | 根据 | 文章 | 上下文 | 資料 | บริบท | ngữ cảnh | bağlam | grounded |"
            " given text | the plot | this text | provided information"
        ),
        when=_has_passage,
    ),
    Rule(
        "translation",
        2.7,
        "a language is all the instruction names",
        any_of=_NAMES,
        when=_short_instruction,
    ),
    Rule("rag", 2.4, "a question beside a text", when=_question_over_material),
    Rule("rag", 1.4, "a question in a long prompt of several lines", when=_question_in_passage),
    Rule(
        "rag",
        1.8,
        "a question about a record of a conversation",
        any_of=phrases(
            "what did | why did | what was | how did | was discussed | discuss* | meeting | transcript |"
            " notes | protokoll | call | what were | opinion | think of | think about"
        ),
        when=lambda f: f.speakers >= 2 and _has_material(f),  # noqa: PLR2004 -- a conversation has two
    ),
    Rule(
        "rag",
        2.2,
        "answers must come from what the system prompt brings",
        when=lambda f: f.asks_question and len(f.request.system_prompt) >= 2 * PASSAGE_CHARACTERS,
    ),
)
