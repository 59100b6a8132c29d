namespace Hyperscope.Devices;

/// <summary>What a guest may ask of the machine as a whole. Any thread; each call returns at once and takes effect later.</summary>
/// <remarks>Devices call this without holding a lock.</remarks>
public interface IMachineControl
{
    /// <summary>The guest ends the run with an exit status (debug-exit).</summary>
    void RequestExit(int status);

    /// <summary>The guest switches the machine off.</summary>
    void RequestPowerOff();

    /// <summary>The guest restarts the machine.</summary>
    void RequestReset();
}
