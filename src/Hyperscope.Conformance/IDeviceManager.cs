namespace Hyperscope.Conformance;

/// <summary>The control calls of the process that owns the VM (kvmi-abi.md 4.1), by errno: 0 is success.</summary>
public interface IDeviceManager
{
    /// <summary>Hooks the VM with its end of a new connection.</summary>
    /// <param name="peer">The introspection tool's end, when the result is 0.</param>
    int Hook(out RawPeer? peer);

    /// <summary>Hooks with an argument that is wrong: padding set, or a descriptor that is none.</summary>
    int HookWrongly(bool setPadding, bool badDescriptor);

    /// <summary>Unhooks.</summary>
    int Unhook();

    /// <summary>Asks the tool to leave.</summary>
    int PreUnhook();

    /// <summary>Allows or disallows a command; -1 means all.</summary>
    int SetCommandPermission(int id, uint allow);

    /// <summary>Allows or disallows an event; -1 means all.</summary>
    int SetEventPermission(int id, uint allow);

    /// <summary>Lets vCPUs run.</summary>
    void Resume();

    /// <summary>Takes vCPUs out of their run loops. Returns when they are.</summary>
    void Suspend();

    /// <summary>Adds guest memory.</summary>
    int AddMemory(Gpa gpa, ulong bytes);

    /// <summary>Removes the slot that starts at an address.</summary>
    int RemoveMemory(Gpa gpa);
}
