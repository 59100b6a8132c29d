namespace Hyperscope.Kvmi;

/// <summary>Numbers of the protocol. Source: kvmi-abi.md 1.3, 2.4.</summary>
public static class KvmiConstants
{
    /// <summary>KVMI_VERSION, as GET_VERSION reports it.</summary>
    public const uint Version = 1;

    /// <summary>Bytes of <see cref="MessageHeader"/>.</summary>
    public const int HeaderSize = 8;

    /// <summary>KVMI_MSG_SIZE: the largest payload.</summary>
    public const int MaxPayloadSize = MaxMessageSize - HeaderSize;

    /// <summary>The largest message, header included; what a receive buffer must hold.</summary>
    public const int MaxMessageSize = 8192;

    /// <summary>Bytes of <see cref="ErrorCode"/>, which every command reply starts with.</summary>
    public const int ErrorCodeSize = 8;

    /// <summary>The largest reply data, after the error block.</summary>
    public const int MaxReplyDataSize = MaxPayloadSize - ErrorCodeSize;

    /// <summary>Bytes of <see cref="EventHeader"/>.</summary>
    public const int EventHeaderSize = 544;

    /// <summary>Bytes of an event reply's common part: <see cref="VcpuHeader"/> and <see cref="EventReply"/>.</summary>
    public const int EventReplySize = 16;

    /// <summary>VM_READ_PHYSICAL and VM_WRITE_PHYSICAL move at most one page.</summary>
    public const int MaxPhysicalAccess = 4096;

    /// <summary>Entries that fit one VM_SET_PAGE_ACCESS.</summary>
    public const int MaxPageAccessEntries = (MaxPayloadSize - 8) / 16;

    /// <summary>Entries that fit one VM_SET_WATCHES.</summary>
    public const int MaxWatchEntries = (MaxPayloadSize - 8) / 16;

    /// <summary>The longest range of one entry of VM_SET_WATCHES.</summary>
    public const uint MaxWatchLength = 1 << 20;

    /// <summary>MSRs that fit one VCPU_GET_REGISTERS reply.</summary>
    public const int MaxRegisterMsrs = (MaxPayloadSize - ErrorCodeSize - 472) / 16;

    /// <summary>Bytes of the XSAVE image.</summary>
    public const int XsaveSize = 4096;

    /// <summary>VCPU_PAUSE answers EBUSY while more than this many requests are pending on the vCPU.</summary>
    public const int PauseLimit = 1001;

    /// <summary>Number of core message ids.</summary>
    public const int MessageCount = 26;

    /// <summary>Number of core event ids.</summary>
    public const int EventCount = 11;

    /// <summary>Message and event ids from here up are extensions of this product, found with the check commands.</summary>
    public const ushort FirstExtensionId = 0x8000;

    /// <summary>KVM_HC_XEN_HVM_OP: rax of the introspection hypercall.</summary>
    public const ulong HypercallNumber = 34;

    /// <summary>KVM_HC_XEN_HVM_OP_GUEST_REQUEST_VM_EVENT: its first argument; the second is 0.</summary>
    public const ulong HypercallFunction = 24;

    /// <summary>What the hypercall returns where nobody listens: -KVM_ENOSYS.</summary>
    public const ulong HypercallUnknown = unchecked((ulong)-(long)KvmError.UnknownCommand);

    /// <summary>KVM_CAP_INTROSPECTION.</summary>
    public const int Capability = 184;
}
