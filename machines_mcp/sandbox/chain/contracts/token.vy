# pragma version 0.4.3
# A dollar token with six decimals. Its issuer mints and burns it.

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256

name: public(String[32])
symbol: public(String[8])
decimals: public(constant(uint8)) = 6
totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
issuer: public(address)


@external
def initialize(issuer: address, name: String[32], symbol: String[8]):
    assert self.issuer == empty(address), "AlreadyInitialized"
    self.issuer = issuer
    self.name = name
    self.symbol = symbol


@external
def mint(receiver: address, amount: uint256):
    assert msg.sender == self.issuer, "Unauthorized"
    self.totalSupply += amount
    self.balanceOf[receiver] += amount
    log Transfer(sender=empty(address), receiver=receiver, value=amount)


@external
def burn(holder: address, amount: uint256):
    assert msg.sender == self.issuer, "Unauthorized"
    self.totalSupply -= amount
    self.balanceOf[holder] -= amount
    log Transfer(sender=holder, receiver=empty(address), value=amount)


@external
def transfer(receiver: address, amount: uint256) -> bool:
    # Subtraction below zero reverts.
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[receiver] += amount
    log Transfer(sender=msg.sender, receiver=receiver, value=amount)
    return True
