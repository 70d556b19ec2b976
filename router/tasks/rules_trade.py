"""Rules for tasks of a trade: legal, support."""

from __future__ import annotations

from typing import Final

from router.tasks.features import Features
from router.tasks.rule import Rule, phrases

SHORT_CHARACTERS = 200
MESSAGE_CHARACTERS = 600
MATERIAL_CHARACTERS = 400
_LAW = (
    "plaintiff defendant court clause agreement party parties liable liability statute contract breach"
    " herein thereof pursuant shall damages appeal jury testimony counsel tort negligence lease covenant"
    " jurisdiction licensee licensor hereby termination sued convicted charged indemnify"
)
_LAW_WORDS = frozenset(_LAW.split())


def _short(features: Features) -> bool:
    return 0 < len(features.turn) <= SHORT_CHARACTERS


TRADE_RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "legal",
        4.3,
        "asks a question of law",
        any_of=phrases(
            "statute | statutes | law of | under the law | lawsuit | sue | liable | liability | plaintiff |"
            " defendant | court | clause | contract law | legal | legally | jurisdiction | governing law |"
            " tort | negligence | landlord | tenant | prosecut* | attorney | lawyer | courts | indict* |"
            " constituti* | constitution | treaty | treaties | sovereign* | international law |"
            " customary law | human rights | jurisprud* | penalty | remedy | defamation | divorce |"
            " demand letter | who is liable | my client | breach* | supreme court | convict* | amendment |"
            " criminal law | case law | hearsay | contract | agreement | merger | copyright | trademark |"
            " patent | lease | terms of service | privacy policy | gdpr | regulation | enforceable |"
            " damages | testator | probate | felony | larceny | burglary | rechtsfrage | rechtlich* |"
            " straf* | gesetz | vertrag | mieter | vermieter | kündigung | gewährle* | haftung | klausel |"
            " anwalt | gericht | juridique | loi | tribunal | avocat | propriétaire | bail | contrat |"
            " recours | ley | abogado | contrato | cláusula | codice civile | legge | avvocato | lei |"
            " advogado | закон | суд | договор | 法律 | 律师 | 合同 | 诉讼 | 民法 | 刑法 | 刑事 | 民事 |"
            " 条款 | 法规 | 契約 | rights | my rights"
        ),
    ),
    Rule(
        "legal",
        2.0,
        "the text uses the words of law",
        when=lambda f: len(_LAW_WORDS & f.words) >= 2,  # noqa: PLR2004 -- one such word is everyday language
    ),
    Rule(
        "support",
        3.7,
        "a customer's business",
        any_of=phrases(
            "refund | my order | order number | my account | cancel my | my card | my flight |"
            " my reservation | my booking | my subscription | my payment | my invoice | invoice | my bill |"
            " my purchase | my package | my delivery | customer service | shipping address | delivery |"
            " top up | topped up | my transfer | cash withdrawal | checking account | savings account |"
            " bank account | credit card | debit card | password | my pin | reset | exchange a |"
            " exchange an | return an | return a | i ordered | i bought | track my | tracking | warranty |"
            " restitution | reimbursement | checkout | direct deposit | pending orders | pending order |"
            " my balance | account balance | i d like to order | i want to order | would like to order |"
            " place an order | purchase* | bestellung | rechnung | rückerstattung | passwort | lieferung |"
            " konto | commande | remboursement | livraison | compte | pedido | reembolso | suscripción |"
            " assinatura | ordine | rimborso | заказ | возврат | 订单 | 退款 | 退货 | 注文 | 返品 | 주문 |"
            " 배송 | 환불 | troca | wrong size | hotline | parcel | fee | transfer | transaction |"
            " credit limit | bill | my bank | deliver | refunded | reimbursed | reimburse | expenses |"
            " sign up | free account | user account | profile | exchange rate | your store | shipping |"
            " my address | subscription | the order | cancel | human agent | complaint | seat |"
            " boarding pass | insurance | direct debit | charged | identity | atm |"
            " virtual card | disposable cards"
        ),
        when=lambda f: f.material_characters < MATERIAL_CHARACTERS,
    ),
    Rule(
        "support",
        2.1,
        "a customer wants something done",
        any_of=phrases(
            "i need | i want | i would like | i d like | need help | help me | can i get | can you help |"
            " i m trying to | i tried | can t | cannot | could not | unable to | doesn t work |"
            " not working | i forgot | i lost | please help | assistance | assist me | i have a problem |"
            " problem with | issue with | i haven t | still haven t | ich möchte | ich habe | je veux |"
            " je voudrais | quiero | necesito | vorrei | queria | хочу | 我想 | 可以"
        ),
        when=lambda f: len(f.turn) <= MESSAGE_CHARACTERS,
    ),
    Rule(
        "support",
        1.6,
        "orders food or goods",
        any_of=phrases(
            "pizza | salad | burger | fries | coke | combo | sandwich | chicken | coffee | toppings |"
            " menu | laptop | shirt | shoes | tickets | ticket | soup | dessert | drink | flight |"
            " airport | hotel | baggage | luggage"
        ),
        when=_short,
    ),
    Rule(
        "support",
        1.9,
        "gives a number of an order or an identity",
        any_of=phrases(
            "order # | zip code | user id | my email is | my name is | account number | order id |"
            " reservation number"
        ),
    ),
)
