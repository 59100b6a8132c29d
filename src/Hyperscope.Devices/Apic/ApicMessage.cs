namespace Hyperscope.Devices;

/// <summary>How an interrupt message acts at its destination. The numbers are the registers' delivery-mode field.</summary>
public enum DeliveryMode : byte
{
#pragma warning disable CS1591 // SDM names
    Fixed = 0,
    LowestPriority = 1,
    Smi = 2,
    Nmi = 4,
    Init = 5,
    Startup = 6,
    ExtInt = 7,
#pragma warning restore CS1591
}

/// <summary>Whom an interrupt message reaches beyond its destination field.</summary>
public enum DestinationShorthand : byte
{
#pragma warning disable CS1591 // SDM names
    None = 0,
    Self = 1,
    AllIncludingSelf = 2,
    AllExcludingSelf = 3,
#pragma warning restore CS1591
}

/// <summary>An interrupt message on its way to local APICs.</summary>
/// <param name="Mode">What it does there.</param>
/// <param name="Vector">0 to 255; the start page for Startup.</param>
/// <param name="Destination">APIC id or logical set; read as IsLogical says.</param>
/// <param name="IsLogical">Destination is matched with logical ids.</param>
/// <param name="IsLevel">Level-triggered: its EOI is broadcast.</param>
/// <param name="IsBroadcast">The destination field said everybody.</param>
public readonly record struct ApicMessage(
    DeliveryMode Mode, byte Vector, uint Destination, bool IsLogical, bool IsLevel, bool IsBroadcast);
