"""Words whose number says what kind of text or request it is."""

from __future__ import annotations

from typing import Final

_LAW = (
    "acquirer act affidavit affiliate affiliates affirmed agreement amendment appeal appellant appellee "
    "arbitration article assign assignment attorney audit bankruptcy beneficiary breach bylaws "
    "citizenship claim claims clause closing code compensatory complaint confidential consent "
    "constitution constitutional contract copyright counsel court covenant covenants creditor crime "
    "criminal damages debtor deceased deed defendant disclosure discovery district doctrine domicile duty "
    "easement employer enforce enforceable equity estate evidence execute executed expiration federal "
    "felony fiduciary fraud good governing grant grantor guilty hearing hearsay heirs held hereby herein "
    "hereof hereto hereunder holder immunity indemnification indemnify infringement injunction insurer "
    "intent judge judgment judicial jurisdiction jury law lawful lawsuit lease legal legislature "
    "liability liable licence license licensee licensor lien litigation merger mortgage motion negligence "
    "negligent notice notwithstanding oath obligation obligations offense officer opinion owner parent "
    "parties party patent penalty personal petition plaintiff pleading policy possession privacy "
    "privilege probate property prosecution provision provisions pursuant reasonable record regulation "
    "remedies remedy representation right rights rule rules ruling seller sentence settlement shall "
    "shareholder state statute statutes statutory sublicense subsidiary sue sued suit supreme tenant term "
    "terminate termination terms territory testator testified testimony thereof thereto third title tort "
    "trademark treaty trial trust trustee unenforceable valid verdict void voidable waiver warrants "
    "warranty whereas wilful will witness writ written"
)
LAW: Final = frozenset(_LAW.split())
"""Words of contracts, statutes and judgments; everyday ones too, which is why several must be there."""

_ONESELF = (
    "eu i i'm ich ik im io j ja jag je ma me mein meine mes meu mi mia mich mijn min mine minha mio mir "
    "mis moi mon my mój notre nous nuestro our unser us we wir yo мне мой моя мы наш я"
)
ONESELF: Final = frozenset(_ONESELF.split())
"""Words for the speaker."""

_ANOTHER = (
    "dein deine dich dir du ihr je jij jouw lei seu sie su ta te ton tu tú u ur usted você votre vous you "
    "your yours ваш вы твой ты"
)
ANOTHER: Final = frozenset(_ANOTHER.split())
"""Words for whom the speaker addresses."""
