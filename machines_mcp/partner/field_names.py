"""The names of the Partner API's fields and parameters, as its documentation lists them.

A name from outside this list could itself be a value, such as the key of a map.
"""

from __future__ import annotations

_NAMES = """
    accepted acceptedAt accountPurpose address adminAddress agreements amount amountCents amountCurrency annotations
    annualSalary assets balanceDue balances birthDate brand callPath callTarget call_id cardId cards chain chainId
    changeNowId city code collateralProxyAddress completionLink content contractId contractVersion controllerAddress
    coordinatorAddress countryCode countryOfIssue createdAt creditLimit ct currency cursor data deletedAt deposit
    depositAddress depositId deposits description destination destinationExtraId destinationSupportsExtraId email
    encryptedColor encryptedCvc encryptedEmoji encryptedMemo encryptedName encryptedPan enum errors estimate
    estimatedToAmount execution expectedMonthlyVolume expirationMonth expirationYear expiresAt externalUserId
    externalVerificationLink extraId field fields firstName folderId frequency fromAmount fromAmountCents
    fromCurrency fromNetwork icon id isActive isPinned isTermsOfServiceAccepted iv keyId kycStatus label last4
    lastName limit line1 line2 links logprobs maxAmount maxAmountCents maxLength merchantName message minAmount
    minAmountCents minLength model name nationalId network networks next nextCursor object occupation occupations ok
    output parameters payinAddress payinExtraId payoutAddress payoutChainId payoutExtraId pendingCharges
    phoneCountryCode phoneNumber pollAfterMs postalCode postedCharges q quotedAmount quotedAmountCurrency range
    rateId reason regex region relay required retryAfterSeconds role scope scopes secretKey sessionId sessionLabel
    sessionToken signature sortOrder source sourceChainId sourceTokenAddress spendingPower status suggestedArgs
    suggestedTool summary supportsExtraId text ticker toCurrency toNetwork tokenAddress tokenContract transactionId
    transactions ttlSeconds type updatedAt url userId v value wallet walletAddress walletLabel
"""
FIELD_NAMES = frozenset(_NAMES.split())
